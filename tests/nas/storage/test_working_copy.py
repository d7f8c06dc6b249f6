"""A local folder and a URL hold the same small files, whoever changes them."""

import os
import shutil
import socket
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from nas.search.directory import SearchDir
from nas.search.resolve_url import search_path, searches_below
from nas.storage import manifest
from nas.storage import working_copy as module
from nas.storage.driver_lock import BusyError
from nas.storage.lease import LOCK, Lease, LeaseLostError, Times
from nas.storage.mirror import Tree
from nas.storage.object_store import Store, StoreError
from nas.storage.working_copy import WorkingCopy, is_carried, working_copy

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


@pytest.fixture
def here(url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> SearchDir:
    return machine("here", url, tmp_path, monkeypatch)


def machine(name: str, url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> SearchDir:
    """The search as it is seen from a machine with a working copy of its own."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    with monkeypatch.context() as elsewhere:
        elsewhere.setattr(socket, "gethostname", lambda: name)
        return SearchDir(search_path(url))


def wait_for(store: Store, name: str, content: bytes) -> None:
    deadline = time.monotonic() + 10.0
    while store.read(name) != content:
        assert time.monotonic() < deadline
        time.sleep(0.02)


def work_under(directory: SearchDir, trouble: Callable[[], object]) -> None:
    """Hold the search and write a file there, until the trouble is noticed."""
    with directory.held(1):
        trouble()
        (directory.root / "hours.json").write_text("1")
        deadline = time.monotonic() + 10.0
        while time.monotonic() < deadline:
            trouble()
            directory.check_held()
            time.sleep(0.02)
        pytest.fail("it goes on")


def test_a_search_is_called_by_its_url(here: SearchDir, url: str) -> None:
    assert str(here) == url
    assert here.root.name.startswith("run-")
    assert here.url_of(here.trial_folder(1, 7)) == f"{url}/stage1/0007"


def test_machines_with_one_home_do_not_share_a_copy(
    here: SearchDir, url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert machine("here", url, tmp_path, monkeypatch).root == here.root
    assert machine("there", url, tmp_path, monkeypatch).root != here.root


def test_a_strangers_folder_does_not_say_where_it_belongs(
    here: SearchDir, url: str, tmp_path: Path
) -> None:
    sent = tmp_path / "sent" / here.root.name
    shutil.copytree(here.root, sent)
    assert (sent / ".origin" / "url").read_text() == url
    assert SearchDir(sent).url_of(sent) is None
    assert str(SearchDir(sent)) == str(sent)


def test_a_plain_folder_has_no_url(tmp_path: Path) -> None:
    directory = SearchDir(search_path(tmp_path / "run"))
    assert directory.root == tmp_path / "run"
    assert directory.url_of(directory.trial_folder(1, 7)) is None
    assert str(directory) == str(tmp_path / "run")


def test_a_folder_whose_name_reads_as_an_option_is_no_search(
    here: SearchDir, tmp_path: Path
) -> None:
    for name in ("run", "run?endpoint_override=evil:9", "run#1", "run 2", "r%75n"):
        (tmp_path / "bucket" / name).mkdir(parents=True)
        (tmp_path / "bucket" / name / "search.yaml").write_text("{}")
    found = searches_below(f"file://{tmp_path}/bucket")
    assert found is not None
    assert [root.name.rpartition("-")[0] for root in found] == ["run"]


def test_a_reader_fetches_small_files_and_no_weights(here: SearchDir, store: Store) -> None:
    store.write("search.yaml", b"{}")
    store.write("stage1/0001/metrics.csv", b"epoch\n")
    store.write("stage1/0001/last.pt", b"large")
    store.write("stage1/0001/.owner", b"x")
    here.refresh()
    found = {path.relative_to(here.root).as_posix() for path in here.root.rglob("*.*")}
    assert found == {".origin", "search.yaml", "stage1/0001/metrics.csv"} | {
        name for name in found if name.startswith(".origin/")
    }


def test_what_is_gone_at_the_url_is_gone_here(here: SearchDir, store: Store) -> None:
    store.write("stage1/0001/result.json", b"{}")
    here.refresh()
    store.remove("stage1/0001/result.json")
    here.refresh()
    assert not here.result_file(1, 1).exists()


def test_a_file_that_changes_within_a_second_is_fetched_again(
    here: SearchDir, store: Store, tmp_path: Path
) -> None:
    """Stores tell the time in whole seconds: the same size and time may be another content."""
    path, now = tmp_path / "bucket" / "run" / "hours.json", time.time()
    for content in (b"one", b"two"):
        store.write("hours.json", content)
        os.utime(path, (now, now))
        here.refresh()
        assert (here.root / "hours.json").read_bytes() == content


def test_what_has_not_changed_is_not_fetched_again(
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


def test_what_the_driver_writes_comes_to_the_url_while_it_works(
    here: SearchDir, store: Store
) -> None:
    with here.held(1):
        (here.root / "hours.json").write_text("1")
        wait_for(store, "hours.json", b"1")
        (here.root / "hours.json").write_text("22")
        wait_for(store, "hours.json", b"22")
        (here.root / "last").write_text("3")
    assert store.read("last") == b"3"
    assert store.read(LOCK) is None


def test_a_search_goes_on_from_another_machine(
    here: SearchDir, url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with here.held(1):
        (here.root / "study.journal").write_text("events")
    there = machine("there", url, tmp_path, monkeypatch)
    with there.held(1):
        assert (there.root / "study.journal").read_text() == "events"


def test_a_second_driver_on_another_machine_is_refused(
    here: SearchDir, url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    there = machine("there", url, tmp_path, monkeypatch)
    with here.held(2):
        rule = rf"run: process {os.getpid()} on .* \(stage 2, since"
        with pytest.raises(BusyError, match=rule), there.held(1):
            pytest.fail("two drivers")
        there.refresh()
        driver = there.driver()
        assert driver is not None
        assert (driver.pid, driver.stage) == (os.getpid(), 2)
        assert not there.is_held_here()
    there.refresh()
    assert there.driver() is None


@pytest.mark.parametrize(
    "who",
    [
        {"pid": "1"},
        {"pid": -1},
        {"host": 3},
        {"host": "\x1b[2J"},
        {"started": None},
        {"stage": 1.5},
    ],
)
def test_a_driver_that_cannot_be_understood_counts_as_none(
    here: SearchDir, store: Store, who: dict[str, object]
) -> None:
    known = {"pid": 9, "host": "east", "stage": 1, "started": 0.0}
    store.write("search.yaml", b"{}")
    store.write(LOCK, Lease(store, known, QUICK).content())
    here.refresh()
    assert here.driver() is not None
    store.write(LOCK, Lease(store, known | who, QUICK).content())
    here.refresh()
    assert here.driver() is None


def test_a_driver_that_died_here_is_followed_at_once(
    here: SearchDir, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "TIMES", Times(renew_s=9, stale_s=900, settle_s=0.02))
    copy = working_copy(here.root)
    assert copy is not None
    dead = Lease(store, {}, module.TIMES)
    dead.take("", print)
    (here.root / ".origin" / "token").write_text(dead.token)
    here.refresh()
    assert here.driver() is None
    with here.held(1):
        pass


def test_a_driver_whose_search_was_taken_stops_and_uploads_nothing(
    here: SearchDir, store: Store
) -> None:
    other = Lease(store, {"pid": 9, "host": "east", "stage": 1, "started": 0.0}, QUICK)
    with pytest.raises(LeaseLostError, match="process 9 on east"):
        work_under(here, lambda: store.write(LOCK, other.content()))
    assert store.read("hours.json") is None
    assert store.read(LOCK) is not None
    assert (here.root / "hours.json").read_text() == "1"


def test_a_store_that_fails_ends_the_search_and_the_files_stay(
    here: SearchDir, store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(self: Store, path: str, content: bytes) -> None:
        raise PermissionError("ACCESS_DENIED")

    with here.held(1):  # connects
        pass
    with pytest.raises(StoreError, match=r"run/\S+: cannot be written \(ACCESS_DENIED\)"):
        work_under(here, lambda: monkeypatch.setattr(Store, "_write", fail))
    assert (here.root / "hours.json").read_text() == "1"


def test_what_a_trial_has_put_to_the_url_is_brought(here: SearchDir, store: Store) -> None:
    with here.held(1):
        store.write("stage1/0001/metrics.csv", b"a")
        store.write("stage1/0002/metrics.csv", b"b")
        here.bring(here.trial_folder(1, 1))
        assert (here.trial_folder(1, 1) / "metrics.csv").read_bytes() == b"a"
        assert not here.trial_folder(1, 2).exists()
        here.bring(here.trial_folder(1, 2), later=True)
    assert (here.trial_folder(1, 2) / "metrics.csv").read_bytes() == b"b"


def test_what_is_known_of_the_files_is_written_when_it_changes_and_not_for_every_trial(
    here: SearchDir, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Or a search of 1,000 trials would write a megabyte for each of their epochs."""
    for number in range(1, 6):
        store.write(f"stage1/000{number}/metrics.csv", b"1")
    tree = Tree(here.root, store, here.root / "known.json", is_carried)
    saved: list[Path] = []
    monkeypatch.setattr(manifest, "write_text", lambda path, text: saved.append(path))
    for number in range(1, 6):
        tree.pull(f"stage1/000{number}")
    assert saved == []
    tree.push()
    assert saved == [here.root / "known.json"]
    tree.push()
    assert len(saved) == 1


def test_a_forgotten_result_does_not_come_back(here: SearchDir, store: Store) -> None:
    store.write("stage1/0001/result.json", b"{}")
    with here.held(1):
        here.remove(here.result_file(1, 1))
        here.bring(here.trial_folder(1, 1))
    assert not here.result_file(1, 1).exists()
    assert store.list() == {}


def test_files_that_vanish_here_stay_at_the_url(here: SearchDir, store: Store) -> None:
    """Somebody may empty the cache; what is to go at the URL is said in so many words."""
    store.write("search.yaml", b"{}")
    with here.held(1):
        (here.root / "search.yaml").unlink()
    assert store.read("search.yaml") == b"{}"
    here.refresh()
    assert (here.root / "search.yaml").read_bytes() == b"{}"


def test_what_another_process_fetched_is_not_put_back(
    here: SearchDir, store: Store, url: str
) -> None:
    """A long `report` here, a `status` in another terminal, a driver on another machine."""
    store.write("stage1/0001/metrics.csv", b"1")
    here.refresh()
    store.write("stage1/0001/metrics.csv", b"12")
    assert WorkingCopy(here.root, url).refresh()
    store.write("stage1/0001/metrics.csv", b"123")
    (here.root / "report.html").write_text("new")
    here.publish()
    assert store.read("report.html") == b"new"
    assert store.read("stage1/0001/metrics.csv") == b"123"


def test_a_reader_leaves_a_driver_of_the_same_machine_alone(here: SearchDir, store: Store) -> None:
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
        ("stage1/0001/best.pt", False),
        ("stage1/0001/lock", False),
        ("study.journal.lock", False),
        ("driver.lock", False),
        (".origin/url", False),
        ("stage1/.leaderboard.csv.x.tmp", False),
    ],
)
def test_which_files_are_kept_the_same(name: str, expected: bool) -> None:
    assert is_carried(name) is expected
