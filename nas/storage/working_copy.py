"""A search at a URL, worked on in a local folder that is kept the same as the URL.

The folder holds the search's small files: no weights and no training states, which the trials
exchange with the URL themselves (`nas.running.remote_trial_folder`). A folder `.origin` in it says
where it belongs, so that it is a search directory like any other to whoever reads it.
"""

import json
import os
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import cache, cached_property
from pathlib import Path
from typing import Any

from nas.storage import urls
from nas.storage.lease import Lease, Times, age_s, read_claim
from nas.storage.mirror import Tree
from nas.storage.object_store import PATIENCE_S, Store
from search_spaces.errors import ScrfdNasError
from search_spaces.files import write_text
from trials.lock import exclusive
from trials.result import TrialFault
from trials.training.checkpoint import LAST, PREVIOUS

ORIGIN = ".origin"
WEIGHTS = ".pt"
TIMES = Times()
_FIRST_PATIENCE_S = 10.0  # of those who wait for an answer; a driver has more
_PUSH_S = 3.0
_REST = 4.0  # at least so many times as long as it takes to put changes to the URL
_BUSY_S = 1.0
_READER_S = 300.0  # that another terminal may take to fetch the same search

Note = Callable[[str], None]


def home() -> Path:
    """The folder of all working copies."""
    cache_home = os.environ.get("XDG_CACHE_HOME")
    return Path(cache_home or Path.home() / ".cache") / "scrfd-nas" / "searches"


def working_copy(root: Path) -> "WorkingCopy | None":
    """What keeps the folder `root` the same as its URL; None if it belongs to no URL.

    Elsewhere than in `home()` it belongs to none, whatever lies in it: a search that a stranger
    has sent must not make us talk to the stranger's store.
    """
    if root.resolve().parent != home().resolve():
        return None
    try:
        url = (root / ORIGIN / "url").read_text(encoding="utf-8")
    except OSError:
        return None
    return _opened(root.resolve(), url)


@cache
def _opened(root: Path, url: str) -> "WorkingCopy":
    return WorkingCopy(root, url)


def mark(root: Path, url: str) -> None:
    """Make `root` the working copy of `url`."""
    if working_copy(root) is None:
        write_text(root / ORIGIN / "url", url)


def is_carried(name: str) -> bool:
    """Whether a file is kept the same: no weights, locks, hidden and temporary files."""
    parts = name.split("/")
    is_lock = parts[-1] == "lock" or parts[-1].endswith(".lock")
    return not (is_lock or name.endswith(WEIGHTS) or any(part.startswith(".") for part in parts))


class WorkingCopy:
    """One local folder that belongs to a URL; a process has one object a folder.

    Args:
        root: the folder, resolved.
        url: see `nas.storage.urls.check_url`.
    """

    def __init__(self, root: Path, url: str) -> None:
        self.root, self.url = root, url
        self._wanted: set[str] = set()
        self._threads: list[_Repeated] = []

    @cached_property
    def store(self) -> Store:
        """The files at the URL."""
        return Store(self.url, _FIRST_PATIENCE_S)

    @cached_property
    def _tree(self) -> Tree:
        return Tree(self.root, self.store, self._own("manifest.json"), is_carried)

    def url_of(self, path: Path) -> str:
        """Of a file or folder in the working copy."""
        return urls.below(self.url, self._name(path))

    def refresh(self) -> bool:
        """Fetch what is new, for somebody who only reads, and who the driver is.

        Returns:
            False if another process of this machine is at it, or works here.
        """
        try:
            with exclusive(self._own("lock"), _BUSY_S):
                self._tree.reload()
                self._tree.pull()
                write_text(self._own("driver.json"), json.dumps(self._driver_elsewhere()))
        except TrialFault:
            return False
        return True

    def driver(self) -> str:
        """The driver on another machine as of the last `refresh`, in JSON."""
        with suppress(OSError):
            return self._own("driver.json").read_text(encoding="utf-8")
        return ""

    def fetch_weights(self, folder: Path) -> None:
        """Fetch the model files in one folder, which a working copy has not by itself."""
        name = self._name(folder)
        for file in self.store.list(name):
            is_direct = file.rpartition("/")[0] == name
            if is_direct and file.endswith(WEIGHTS) and not file.endswith((LAST, PREVIOUS)):
                self.store.download(file, self.root / file)

    def training_states(self) -> dict[str, int]:
        """Bytes of each training state at the URL, by its name relative to the root."""
        names = (LAST, PREVIOUS)
        found = self.store.list().items()
        return {n: entry.size for n, entry in found if n.rpartition("/")[2] in names}

    def bring(self, folder: Path, *, later: bool = False) -> None:
        """Fetch what a trial has put to its folder at the URL, at once or within seconds."""
        if later:
            self._wanted.add(self._name(folder))
        else:
            self._tree.pull(self._name(folder))

    def publish(self) -> None:
        """Put what has changed here to the URL, for somebody who is not the driver.

        Raises:
            TrialFault: another process of this machine fetches the search for minutes.
        """
        with exclusive(self._own("lock"), _READER_S):
            self._tree.reload()  # what another process has fetched since was not changed here
            self._tree.push()

    def remove(self, path: Path) -> None:
        """Take a file away, here and at the URL."""
        self._tree.remove(self._name(path))

    def check(self) -> None:
        """Raise what keeps this driver from going on, if anything does.

        Raises:
            LeaseLostError: another driver has taken over.
            StoreError: the store does not answer.
        """
        for thread in self._threads:
            if thread.failure is not None:
                raise thread.failure

    @contextmanager
    def held(self, describe: Callable[[], Mapping[str, Any]], note: Note) -> Iterator[None]:
        """Be the one driver of the search; what changes here is put to the URL meanwhile.

        The caller holds the local folder.

        Args:
            describe: this process, for those who are refused; asked before and after fetching.
            note: hears why it takes long to begin.

        Raises:
            HeldError: another driver is alive.
            LeaseLostError, StoreError: on leaving; what is here stays here.
        """
        with exclusive(self._own("lock"), _READER_S):
            lease = Lease(self.store, describe(), TIMES)
            lease.take(self._own_token(), note)
            write_text(self._own("token"), lease.token)
            self.store.patience_s = PATIENCE_S
            try:
                with self._repeated("lease", TIMES.renew_s, lease.renew):
                    self._tree.reload()
                    self._tree.pull()
                    lease.who = describe()
                    with self._repeated("publish", _PUSH_S, lambda: self._exchange(lease), _REST):
                        yield
            finally:
                self.store.patience_s = _FIRST_PATIENCE_S
                with suppress(ScrfdNasError):
                    lease.release()

    @contextmanager
    def _repeated(
        self, name: str, period_s: float, act: Callable[[], None], rest: float = 0.0
    ) -> Iterator[None]:
        """Do something again and again during the block, and a last time at its end.

        Raises what made it fail, unless the block has said already why it ends.
        """
        thread = _Repeated(name, period_s, act, rest)
        self._threads.append(thread)
        thread.start()
        error: BaseException | None = None
        try:
            yield
        except BaseException as raised:
            error = raised
            raise
        finally:
            thread.leave()
            self._threads.remove(thread)
            if thread.failure is not None and not isinstance(error, ScrfdNasError):
                raise thread.failure

    def _exchange(self, lease: Lease) -> None:
        while self._wanted:
            self._tree.pull(self._wanted.pop())
        lease.confirm()
        self._tree.push()

    def _driver_elsewhere(self) -> Mapping[str, Any] | None:
        """Who renewed the lease lately, by this machine's clock.

        The caller knows that no driver lives in this folder: a claim from here is of a dead one.
        """
        claim = read_claim(self.store)
        if claim is None or claim.token == self._own_token():
            return None
        return claim.who if age_s(self.store, time.time()) < TIMES.stale_s else None

    def _own_token(self) -> str:
        """Of the last driver that worked in this folder; empty if there was none."""
        with suppress(OSError):
            return self._own("token").read_text(encoding="utf-8")
        return ""

    def _own(self, name: str) -> Path:
        return self.root / ORIGIN / name

    def _name(self, path: Path) -> str:
        return path.resolve().relative_to(self.root).as_posix()


class _Repeated(threading.Thread):
    """Does something every `period_s` seconds, and a last time when it is told to leave.

    Between two times it pauses at least `rest` times as long as the first has taken.

    Attributes:
        failure: what ended it; it does nothing more after that.
    """

    def __init__(self, name: str, period_s: float, act: Callable[[], None], rest: float) -> None:
        super().__init__(name=name, daemon=True)
        self._period_s, self._act, self._rest = period_s, act, rest
        self._told = threading.Event()
        self.failure: Exception | None = None

    def run(self) -> None:
        """Until it is told to leave or fails."""
        pause = self._period_s
        while self.failure is None:
            is_last = self._told.wait(pause)
            started = time.monotonic()
            try:
                self._act()
            except Exception as error:
                self.failure = error
            if is_last:
                return
            pause = max(self._period_s, self._rest * (time.monotonic() - started))

    def leave(self) -> None:
        """Do it once more and end."""
        self._told.set()
        self.join()
