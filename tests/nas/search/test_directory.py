"""Files of a search directory and its lock."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from fake_trials import make_architecture, make_request

from nas.search.directory import SearchDir, find_search_dir
from nas.search.request import Stage2Request
from nas.storage.driver_lock import BusyError
from search_spaces.architecture import save_architecture
from search_spaces.errors import ConfigError

FIRST = make_request()
SECOND = Stage2Request(
    flops=10**9, data="/d", data_fingerprint="0", recipe={}, template="3", template_hash="abc"
)


def test_requests_are_read_as_they_were_written(tmp_path: Path) -> None:
    directory = SearchDir(tmp_path / "search")
    assert directory.requests() == {}
    directory.write_request(FIRST)
    directory.write_request(SECOND)
    assert directory.requests() == {1: FIRST, 2: SECOND}


def test_search_file_keeps_the_versions_of_the_first_run(tmp_path: Path) -> None:
    directory = SearchDir(tmp_path)
    directory.write_request(FIRST)
    text = directory.search_file.read_text()
    for name in ("python", "torch", "ray", "optuna"):
        assert re.search(rf"\b{name}: ['\d]", text), name
    directory.search_file.write_text(re.sub(r"(torch: )[^,}\n]+", r"\g<1>0.0.1", text, count=1))
    directory.write_request(FIRST)
    assert "0.0.1" in directory.search_file.read_text()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[1, 2]", "must be a mapping"),
        ("stage4: {}", "unknown keys"),
        ("stage1: {}", "has format None, and this version reads format 1; continue with"),
        ("format: 2", "has format 2, .* or start a new search directory"),
        ("format: 1\nstage1: {created: now}", "stage1 lacks its request"),
        ("format: 1\nstage1: {request: {flops: 1}}", "lacks the keys"),
        ("format: 1\nstage1: {request: {flopz: 1}}", "unknown keys"),
        ("stage1: {", "not valid YAML"),
    ],
)
def test_damaged_search_file_is_an_error_with_its_name(
    tmp_path: Path, text: str, message: str
) -> None:
    directory = SearchDir(tmp_path)
    directory.search_file.write_text(text)
    with pytest.raises(ConfigError, match=message) as error:
        directory.requests()
    assert str(directory.search_file) in str(error.value)


def test_candidates_are_found_by_their_files(tmp_path: Path) -> None:
    directory = SearchDir(tmp_path)
    assert directory.numbers(1) == []
    for number in (2, 1, 10000):
        save_architecture(make_architecture(number % 7), directory.architecture_file(1, number))
    (directory.stage_folder(1) / "notes").mkdir()
    (directory.stage_folder(1) / "notes" / "architecture.yaml").write_text("x")
    assert directory.numbers(1) == [1, 2, 10000]
    assert directory.trial_folder(1, 2).name == "0002"
    assert directory.candidates(1)[2] == make_architecture(2)


def test_epochs_are_counted_from_the_metrics(tmp_path: Path) -> None:
    directory = SearchDir(tmp_path)
    assert directory.epochs_done(1, 1) == 0
    directory.trial_folder(1, 1).mkdir(parents=True)
    (directory.trial_folder(1, 1) / "metrics.csv").write_text("epoch,loss\n1,2.0\n2,1.0\n")
    assert directory.epochs_done(1, 1) == 2


def test_driver_is_known_while_it_holds_the_directory_and_a_second_one_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("nas.storage.driver_lock._LOCK_WAIT_S", 0.1)
    directory = SearchDir(tmp_path)
    assert directory.driver() is None
    with directory.held(2):
        driver = directory.driver()
        assert driver is not None
        assert (driver.pid, driver.stage) == (os.getpid(), 2)
        message = rf"process {os.getpid()} on .* \(stage 2, since"
        with pytest.raises(BusyError, match=message), directory.held(1):
            pytest.fail("two drivers")
    assert directory.driver() is None


def test_lock_of_a_killed_driver_is_taken_over(tmp_path: Path) -> None:
    script = (
        "import os, signal, sys\nfrom pathlib import Path\n"
        "from nas.search.directory import SearchDir\n"
        "with SearchDir(Path(sys.argv[1])).held(1):\n    os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    killed = subprocess.run([sys.executable, "-c", script, str(tmp_path)], check=False)
    assert killed.returncode == -9
    directory = SearchDir(tmp_path)
    assert (tmp_path / "driver.lock").read_text() != ""
    assert directory.driver() is None
    with directory.held(1):
        assert directory.driver() is not None


def test_temporary_files_of_killed_drivers_are_removed(tmp_path: Path) -> None:
    directory = SearchDir(tmp_path)
    old, new = tmp_path / ".search.yaml.1.tmp", directory.stage_folder(1) / ".leaderboard.csv.2.tmp"
    for path in (old, new):
        path.parent.mkdir(exist_ok=True)
        path.touch()
    os.utime(old, (0, 0))
    with directory.held(1):
        assert not old.exists()
        assert new.exists()  # another command may be writing it


def test_find_search_dir_returns_the_only_search(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"no search in .*: give --search-dir, or start one"):
        find_search_dir(None, tmp_path)
    for name in ("a", ".trash"):
        SearchDir(tmp_path / name).write_request(FIRST)
    assert find_search_dir(None, tmp_path).root == tmp_path / "a"
    SearchDir(tmp_path / "b").write_request(FIRST)
    with pytest.raises(ConfigError, match=r"several searches: .*a, .*b"):
        find_search_dir(None, tmp_path)
    assert find_search_dir(tmp_path / "b", tmp_path).root == tmp_path / "b"
    with pytest.raises(ConfigError, match="holds no search"):
        find_search_dir(tmp_path, tmp_path)
