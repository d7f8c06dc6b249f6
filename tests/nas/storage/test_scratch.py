"""Temporary folders of running and of dead processes."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from nas.storage.scratch import scratch_folder

HOLD = """
import sys, time
from pathlib import Path
from nas.storage.scratch import scratch_folder
with scratch_folder(Path(sys.argv[1])) as folder:
    print(folder, flush=True)
    time.sleep(600)
"""
HOUR_AGO = time.time() - 3600


def test_folder_exists_during_the_block(tmp_path: Path) -> None:
    with scratch_folder(tmp_path) as folder:
        (folder / "part" / "inner").mkdir(parents=True)
        assert folder.parent == tmp_path
    assert list(tmp_path.iterdir()) == []


def test_folder_of_a_dead_process_is_removed_and_of_a_running_one_stays(tmp_path: Path) -> None:
    command = [sys.executable, "-c", HOLD, str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout is not None
        folder = Path(other.stdout.readline().strip())
        os.utime(folder, (HOUR_AGO, HOUR_AGO))
        with scratch_folder(tmp_path):
            assert folder.is_dir()
        other.kill()
        other.wait()
        with scratch_folder(tmp_path):
            assert not folder.exists()


@pytest.mark.parametrize(
    ("name", "is_old"),
    [
        ("scrfd-1-abcdefgh", False),
        ("scrfd-nas", True),  # a user's
        ("scrfd-nas-4711", True),  # Ray's own in a Slurm job, which has no lock
        ("scrfd-weights", True),
        ("scrfd-34-run", True),
    ],
)
def test_new_folders_and_those_with_other_names_stay(
    tmp_path: Path, name: str, is_old: bool
) -> None:
    (tmp_path / name).mkdir()
    if is_old:
        os.utime(tmp_path / name, (HOUR_AGO, HOUR_AGO))
    with scratch_folder(tmp_path):
        assert (tmp_path / name).is_dir()


def test_link_is_not_followed(tmp_path: Path) -> None:
    precious = tmp_path / "precious"
    precious.mkdir()
    (tmp_path / "root").mkdir()
    (tmp_path / "root" / "scrfd-1-abcdefgh").symlink_to(precious)
    os.utime(precious, (HOUR_AGO, HOUR_AGO))
    with scratch_folder(tmp_path / "root"):
        assert precious.is_dir()
