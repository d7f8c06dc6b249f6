"""Searches on a full disk; tests that mount a small one are skipped without the right to."""

import errno
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from fake_search import FakeSearch
from fake_trials import make_data

from nas.search.disk import DiskFullError, naming_full_disks
from nas.search.events import TrialEvent
from nas.study.study import read_study
from search_spaces.files import write_text
from trials.result import TrialResult


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 1 MiB."""
    folder = tmp_path / "small"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(folder)]
    try:
        subprocess.run(command, check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("file systems cannot be mounted here")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def fill(folder: Path) -> Path:
    """Leave no byte free, and return the file to remove."""
    filler = folder / "filler"
    with filler.open("wb", buffering=0) as file:
        for size in (65536, 1):
            try:
                while file.write(b"x" * size):
                    pass
            except OSError:
                pass
    return filler


@pytest.mark.parametrize("moment", ["started", "epoch", "finished"])
def test_a_search_stops_when_its_disk_is_full_and_continues_when_it_is_not(
    tmp_path: Path, small_disk: Path, moment: str
) -> None:

    def fill_disk(event: TrialEvent) -> None:
        if (event.number, event.kind) == (2, moment):
            fill(small_disk)

    data = make_data(tmp_path / "data")
    search = FakeSearch(small_disk, data, options={"subscribers": [fill_disk]})
    with pytest.raises(DiskFullError, match=r"no space is left .* continues the search") as fault:
        search.begin()
    assert "\n" not in str(fault.value)
    kept = search.directory.outcomes(1)
    assert {1} <= set(kept) <= {1, 2}
    assert all(isinstance(outcome, TrialResult) for outcome in kept.values())  # none failed
    (small_disk / "filler").unlink()
    search.options = {}
    summary = search.begin()
    assert summary.num_finished == 4
    assert not set(search.cluster.asked) & set(kept)
    assert {n: search.directory.outcome(1, n) for n in kept} == kept
    assert [r.state for r in read_study(search.directory.journal, 1)] == ["finished"] * 4


def test_a_file_on_a_full_disk_stays_as_it_was(small_disk: Path) -> None:
    write_text(small_disk / "file", "before")
    fill(small_disk)
    with pytest.raises(OSError, match="No space left"):
        write_text(small_disk / "file", "x" * 100_000)
    assert (small_disk / "file").read_text() == "before"
    assert sorted(path.name for path in small_disk.iterdir()) == ["file", "filler"]


def test_only_exceptions_caused_by_a_full_disk_are_replaced(tmp_path: Path) -> None:
    def fail_on_half_a_file() -> None:
        try:
            raise OSError(errno.ENOSPC, "x")
        except OSError:
            int("half a li")

    with pytest.raises(DiskFullError, match="free some"), naming_full_disks(tmp_path):
        fail_on_half_a_file()
    with pytest.raises(PermissionError), naming_full_disks(tmp_path):
        raise PermissionError(errno.EACCES, "x")
