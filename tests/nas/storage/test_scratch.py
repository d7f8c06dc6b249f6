"""Temporary folders of dead processes are removed, those of living ones never."""

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


def test_a_folder_is_there_for_the_block(tmp_path: Path) -> None:
    with scratch_folder(tmp_path) as folder:
        (folder / "part" / "inner").mkdir(parents=True)
        assert folder.parent == tmp_path
    assert list(tmp_path.iterdir()) == []


def test_one_of_a_killed_process_goes_and_one_of_a_living_process_stays(tmp_path: Path) -> None:
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


def test_a_young_folder_may_be_about_to_be_locked(tmp_path: Path) -> None:
    young = tmp_path / "scrfd-1-abcdefgh"
    young.mkdir()
    with scratch_folder(tmp_path):
        assert young.is_dir()


@pytest.mark.parametrize("name", ["scrfd-nas", "scrfd-nas-4711", "scrfd-weights", "scrfd-34-run"])
def test_what_others_put_there_stays_however_old_it_is(tmp_path: Path, name: str) -> None:
    """A user's folder, and Ray's own in a Slurm job, which nobody locks."""
    (tmp_path / name).mkdir()
    os.utime(tmp_path / name, (HOUR_AGO, HOUR_AGO))
    with scratch_folder(tmp_path):
        pass
    assert (tmp_path / name).is_dir()


def test_a_link_is_not_followed(tmp_path: Path) -> None:
    precious = tmp_path / "precious"
    precious.mkdir()
    (tmp_path / "root").mkdir()
    (tmp_path / "root" / "scrfd-1-abcdefgh").symlink_to(precious)
    os.utime(precious, (HOUR_AGO, HOUR_AGO))
    with scratch_folder(tmp_path / "root"):
        assert precious.is_dir()
