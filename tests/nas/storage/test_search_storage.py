"""Searches at a URL and their local copies."""

import os
import shutil
import socket
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from nas.search.directory import SearchDir
from nas.search.resolve_url import search_path, searches_below
from nas.storage import mirror
from nas.storage import search_storage as module
from nas.storage.driver_lock import BusyError, Driver
from nas.storage.lease import LOCK, Lease, LeaseLostError, Times
from nas.storage.mirror import Mirror
from nas.storage.object_store import Store, StoreError
from nas.storage.search_storage import RemoteStorage, is_mirrored

EAST = Driver(pid=9, host="east", stage=1, started=0.0)
QUICK = Times(renew_s=0.05, stale_s=0.5, settle_s=0.02, look_s=0.02)


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "TIMES", QUICK)
    monkeypatch.setattr(module, "_PUSH_S", 0.05)


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"file://{tmp_path}/bucket/run"


@pytest.fixture
def store(url: str) -> Store:
    return Store(url, patience_s=0.0)


Machine = Callable[[str], SearchDir]


@pytest.fixture
def machine(url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    """Return the search as a machine sees it, which has a local copy of its own."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))

    def make(name: str) -> SearchDir:
        with monkeypatch.context() as elsewhere:
            elsewhere.setattr(socket, "gethostname", lambda: name)
            return SearchDir(search_path(url))

    return make


@pytest.fixture
def here(machine: Machine) -> SearchDir:
    return machine("here")


def wait_for(store: Store, name: str, content: bytes) -> None:
    deadline = time.monotonic() + 10.0
    while store.read(name) != content:
        assert time.monotonic() < deadline
        time.sleep(0.02)


def work_under(directory: SearchDir, trouble: Callable[[], object]) -> None:
    """Hold the search, cause trouble and write a file until `check` raises."""
    with directory.held(1):
        trouble()
        (directory.root / "hours.json").write_text("1")
        deadline = time.monotonic() + 10.0
        while time.monotonic() < deadline:
            trouble()
            directory.storage.check()
            time.sleep(0.02)
        pytest.fail("no error was raised")


def test_search_is_named_by_its_url_and_machines_with_one_home_have_separate_copies(
    here: SearchDir, url: str, machine: Machine, tmp_path: Path
) -> None:
    assert str(here) == url
    assert here.root.name.startswith("run-")
    assert here.url_of(here.trial_folder(1, 7)) == f"{url}/stage1/0007"
    assert machine("here").root == here.root
    assert machine("there").root != here.root
    plain = SearchDir(search_path(tmp_path / "run"))
    assert str(plain) == str(plain.root) == str(tmp_path / "run")
    assert plain.url_of(plain.trial_folder(1, 7)) is None


def test_folder_outside_of_the_cache_belongs_to_no_url(
    here: SearchDir, url: str, tmp_path: Path
) -> None:
    sent = tmp_path / "sent" / here.root.name
    shutil.copytree(here.root, sent)
    assert (sent / ".origin" / "url").read_text() == url
    assert SearchDir(sent).url_of(sent) is None
    assert str(SearchDir(sent)) == str(sent)


def test_folders_with_url_syntax_in_their_names_are_ignored(
    here: SearchDir, tmp_path: Path
) -> None:
    for name in ("run", "run?endpoint_override=evil:9", "run#1", "run 2", "r%75n"):
        (tmp_path / "bucket" / name).mkdir(parents=True)
        (tmp_path / "bucket" / name / "search.yaml").write_text("{}")
    found = searches_below(f"file://{tmp_path}/bucket")
    assert found is not None
    assert [root.name.rpartition("-")[0] for root in found] == ["run"]


def test_refresh_fetches_small_files_and_no_weights_and_removes_what_is_gone(
    here: SearchDir, store: Store
) -> None:
    for name in ("search.yaml", *(f"stage1/0001/{n}" for n in ("result.json", "a.pt", ".owner"))):
        store.write(name, b"{}")
    here.refresh()
    found = {path.relative_to(here.root).as_posix() for path in here.root.rglob("*.*")}
    own = {name for name in found if name.startswith(".origin")}
    assert found - own == {"search.yaml", "stage1/0001/result.json"}
    store.remove("stage1/0001/result.json")
    here.refresh()
    assert not here.result_file(1, 1).exists()


def test_file_that_changes_within_a_second_is_fetched_again(
    here: SearchDir, store: Store, tmp_path: Path
) -> None:
    """Stores tell the time in whole seconds: the same size and time may be another content."""
    path, now = tmp_path / "bucket" / "run" / "hours.json", time.time()
    for content in (b"one", b"two"):
        store.write("hours.json", content)
        os.utime(path, (now, now))
        here.refresh()
        assert (here.root / "hours.json").read_bytes() == content


def test_unchanged_files_are_not_fetched_again(
    here: SearchDir, store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, age in (("old", 60.0), ("new", 0.0)):
        store.write(name, b"x")
        when = time.time() - age
        os.utime(tmp_path / "bucket" / "run" / name, (when, when))
    here.refresh()
    fetched: list[str] = []
    download = Store.download

    def noting(self: Store, name: str, path: Path) -> bool:
        fetched.append(name)
        return download(self, name, path)

    monkeypatch.setattr(Store, "download", noting)
    here.refresh()
    assert fetched == ["new"]


def test_files_of_the_driver_are_uploaded_while_it_runs(here: SearchDir, store: Store) -> None:
    with here.held(1):
        (here.root / "hours.json").write_text("1")
        wait_for(store, "hours.json", b"1")
        (here.root / "hours.json").write_text("22")
        wait_for(store, "hours.json", b"22")
        (here.root / "last").write_text("3")
    assert store.read("last") == b"3"
    assert store.read(LOCK) is None


def test_search_is_continued_on_another_machine(here: SearchDir, machine: Machine) -> None:
    with here.held(1):
        (here.root / "study.journal").write_text("events")
    there = machine("there")
    with there.held(1):
        assert (there.root / "study.journal").read_text() == "events"


def test_second_driver_on_another_machine_is_refused(here: SearchDir, machine: Machine) -> None:
    there = machine("there")
    with here.held(2):
        rule = rf"run: process {os.getpid()} on .* \(stage 2, since"
        with pytest.raises(BusyError, match=rule), there.held(1):
            pytest.fail("two drivers")
        there.refresh()
        driver = there.driver()
        assert driver is not None
        assert (driver.pid, driver.stage) == (os.getpid(), 2)
        assert not there.storage.is_held_here()
    there.refresh()
    assert there.driver() is None


def test_damaged_driver_of_a_lease_counts_as_none(here: SearchDir, store: Store) -> None:
    content = Lease(store, EAST, QUICK).content()
    store.write("search.yaml", b"{}")
    store.write(LOCK, content)
    here.refresh()
    assert here.driver() == EAST
    store.write(LOCK, content.replace(b'"pid": 9', b'"pid": -1'))
    here.refresh()
    assert here.driver() is None


def test_driver_that_died_on_this_machine_is_replaced_at_once(
    here: SearchDir, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "TIMES", Times(renew_s=9, stale_s=900, settle_s=0.02))
    dead = Lease(store, EAST, module.TIMES)
    dead.take("", print)
    (here.root / ".origin" / "token").write_text(dead.token)
    here.refresh()
    assert here.driver() is None
    with here.held(1):
        pass


def test_driver_without_its_lease_or_store_ends_and_its_local_files_stay(
    here: SearchDir, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(self: Store, path: str, content: bytes) -> None:
        raise PermissionError("ACCESS_DENIED")

    other = Lease(store, EAST, QUICK)
    with pytest.raises(LeaseLostError, match="process 9 on east"):
        work_under(here, lambda: store.write(LOCK, other.content()))
    assert store.read("hours.json") is None
    assert store.read(LOCK) is not None
    assert (here.root / "hours.json").read_text() == "1"
    store.remove(LOCK)
    with pytest.raises(StoreError, match=r"run/\S+: cannot be written \(ACCESS_DENIED\)"):
        work_under(here, lambda: monkeypatch.setattr(Store, "_write", fail))
    assert (here.root / "hours.json").read_text() == "1"


def test_fetch_gets_the_files_of_a_trial_now_or_later(here: SearchDir, store: Store) -> None:
    with here.held(1):
        store.write("stage1/0001/metrics.csv", b"a")
        store.write("stage1/0002/metrics.csv", b"b")
        here.storage.fetch(here.trial_folder(1, 1))
        assert (here.trial_folder(1, 1) / "metrics.csv").read_bytes() == b"a"
        assert not here.trial_folder(1, 2).exists()
        here.storage.fetch(here.trial_folder(1, 2), later=True)
    assert (here.trial_folder(1, 2) / "metrics.csv").read_bytes() == b"b"


def test_manifest_is_saved_when_it_changes_and_not_for_every_trial(
    here: SearchDir, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Otherwise a search of 1,000 trials would write a megabyte for each of their epochs."""
    for number in range(1, 6):
        store.write(f"stage1/000{number}/metrics.csv", b"1")
    files = Mirror(here.root, store, here.root / "known.json", is_mirrored)
    saved: list[Path] = []
    monkeypatch.setattr(mirror, "write_text", lambda path, text: saved.append(path))
    for number in range(1, 6):
        files.pull(f"stage1/000{number}")
    assert saved == []
    files.push()
    assert saved == [here.root / "known.json"]
    files.push()
    assert len(saved) == 1


def test_removed_result_does_not_come_back(here: SearchDir, store: Store) -> None:
    store.write("stage1/0001/result.json", b"{}")
    with here.held(1):
        here.storage.remove(here.result_file(1, 1))
        here.storage.fetch(here.trial_folder(1, 1))
    assert not here.result_file(1, 1).exists()
    assert store.list() == {}


def test_files_deleted_from_the_local_copy_stay_at_the_url(here: SearchDir, store: Store) -> None:
    """A user may empty the cache; `remove` is the only way to delete at the URL."""
    store.write("search.yaml", b"{}")
    with here.held(1):
        (here.root / "search.yaml").unlink()
    assert store.read("search.yaml") == b"{}"
    here.refresh()
    assert (here.root / "search.yaml").read_bytes() == b"{}"


def test_publish_does_not_upload_what_another_process_fetched(
    here: SearchDir, store: Store, url: str
) -> None:
    """A long `report` here, a `status` in another terminal, a driver on another machine."""
    store.write("stage1/0001/metrics.csv", b"1")
    here.refresh()
    store.write("stage1/0001/metrics.csv", b"12")
    RemoteStorage(here.root, url).refresh()
    store.write("stage1/0001/metrics.csv", b"123")
    (here.root / "report.html").write_text("new")
    here.publish()
    assert store.read("report.html") == b"new"
    assert store.read("stage1/0001/metrics.csv") == b"123"


def test_refresh_does_nothing_while_a_driver_runs_here(here: SearchDir, store: Store) -> None:
    with here.held(1):
        (here.root / "study.journal").write_text("newer than the store's")
        store.write("study.journal", b"old")
        SearchDir(here.root).refresh()
        assert (here.root / "study.journal").read_text() == "newer than the store's"


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("search.yaml", True),
        ("stage1/0001/tensorboard/events.out.tfevents.1.vm", True),
        ("stage1/0001/seeds/1/result.json", True),
        ("stage1/0001/evaluation.npz", True),
        ("stage1/0001/best.pt", False),
        ("stage1/0001/lock", False),
        ("study.journal.lock", False),
        ("driver.lock", False),
        (".origin/url", False),
        ("stage1/.leaderboard.csv.x.tmp", False),
    ],
)
def test_which_files_are_mirrored(name: str, expected: bool) -> None:
    assert is_mirrored(name) is expected
