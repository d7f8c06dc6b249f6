"""Storage of a search directory: a local folder, or a local copy of a folder at a URL.

Both have one interface, `LocalStorage`. The copy of a URL holds the search's small files: no
weights and no training states, which the trials exchange with the URL themselves
(`nas.running.remote_trial_folder`). A folder `.origin` in it names the URL.
"""

import os
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from functools import cache, cached_property
from pathlib import Path

from nas.storage import urls
from nas.storage.driver_lock import Driver, held_lock, read_lock, write_driver
from nas.storage.lease import LOCK, Lease, Times, claim_age_s, read_claim
from nas.storage.mirror import Mirror
from nas.storage.object_store import PATIENCE_S, Store
from nas.storage.periodic import Periodic
from search_spaces.errors import ScrfdNasError
from search_spaces.files import write_text
from trials.lock import exclusive
from trials.result import LAST, PREVIOUS, TrialFault

ORIGIN = ".origin"
WEIGHTS = ".pt"
TIMES = Times()
_READER_PATIENCE_S = 10.0  # for commands with a user who waits; a driver has more
_PUSH_S = 3.0
_REST = 4.0  # uploads take at most a fifth of the time
_BUSY_S = 1.0
_COPY_S = 300.0  # another command may take so long to fetch the same search

Note = Callable[[str], None]


class LocalStorage:
    """The files of a search in a local folder; `RemoteStorage` adds what a URL needs.

    Args:
        root: the folder.
    """

    def __init__(self, root: Path) -> None:
        self.root = root

    def __str__(self) -> str:
        return str(self.root)

    @contextmanager
    def held(self, driver: Driver, note: Note) -> Iterator[None]:
        """Be the only driver of the search during the block; the lock ends with the process.

        Args:
            driver: this process.
            note: called with the reason for a long wait.

        Raises:
            BusyError: another driver is alive.
            LeaseLostError, StoreError: at the end; the local files stay as they are.
        """
        path = self.root / LOCK
        with held_lock(path, self), self._leased(driver, note):
            write_driver(path, driver)
            yield

    def is_held_here(self) -> bool:
        """Return whether a driver runs in this folder."""
        return read_lock(self.root / LOCK)[0]

    def driver(self) -> Driver | None:
        """Return the driver that is alive; None if there is none. At a URL: as of `refresh`."""
        return read_lock(self.root / LOCK)[1]

    def url_of(self, path: Path) -> str | None:
        """Return the URL of a file or folder of the search; None if it has none."""
        return None

    def refresh(self) -> None:
        """Fetch what is new at the URL. A driver in this folder does so by itself."""

    def publish(self) -> None:
        """Upload what a command has written without being the driver."""

    def fetch(self, folder: Path, *, later: bool = False) -> None:
        """As the driver, fetch what a trial has written to its URL, now or within seconds."""

    def fetch_weights(self, folder: Path) -> None:
        """Fetch the model files in a folder."""

    def check(self) -> None:
        """As the driver, raise LeaseLostError or StoreError if the search cannot go on."""

    def write(self, path: Path, text: str) -> None:
        """Write a small file where the machines of all trials see it."""
        path.write_text(text, encoding="utf-8")

    def remove(self, path: Path) -> None:
        """Remove a file, also at the URL."""
        path.unlink(missing_ok=True)

    def training_states(self) -> dict[Path, int]:
        """Return the training states of all trials with their sizes in bytes."""
        found = sorted(self.root.glob("stage*/*/**/*.pt"))
        return {path: path.stat().st_size for path in found if path.name in (LAST, PREVIOUS)}

    def _leased(self, driver: Driver, note: Note) -> AbstractContextManager[None]:
        return nullcontext()


class RemoteStorage(LocalStorage):
    """A local copy of the small files at a URL.

    Methods raise StoreError where the store does not answer.

    Args:
        root: the folder of the copy, resolved.
        url: see `nas.storage.urls.check_url`.
    """

    def __init__(self, root: Path, url: str) -> None:
        super().__init__(root)
        self.url = url
        self._driver: Driver | None = None
        self._fetch_later: set[str] = set()
        self._threads: list[Periodic] = []

    def __str__(self) -> str:
        return self.url

    @cached_property
    def store(self) -> Store:
        """The files at the URL."""
        return Store(self.url, _READER_PATIENCE_S)

    @cached_property
    def _mirror(self) -> Mirror:
        return Mirror(self.root, self.store, self._own("manifest.json"), is_mirrored)

    def url_of(self, path: Path) -> str:
        """See `LocalStorage.url_of`."""
        return urls.below(self.url, self._name(path))

    def driver(self) -> Driver | None:
        """See `LocalStorage.driver`."""
        return super().driver() or self._driver

    def refresh(self) -> None:
        """See `LocalStorage.refresh`."""
        while not self.is_held_here():
            # Another command may be fetching; a driver may start meanwhile.
            with suppress(TrialFault), exclusive(self._own("lock"), _BUSY_S):
                self._mirror.reload()
                self._mirror.pull()
                self._driver = self._driver_elsewhere()
                return

    def publish(self) -> None:
        """See `LocalStorage.publish`."""
        if self.is_held_here():
            return
        with exclusive(self._own("lock"), _COPY_S):
            self._mirror.reload()  # what another process has fetched is no change of ours
            self._mirror.push()

    def fetch(self, folder: Path, *, later: bool = False) -> None:
        """See `LocalStorage.fetch`."""
        if later:
            self._fetch_later.add(self._name(folder))
        else:
            self._mirror.pull(self._name(folder))

    def fetch_weights(self, folder: Path) -> None:
        """See `LocalStorage.fetch_weights`."""
        name = self._name(folder)
        for file in self.store.list(name):
            is_direct = file.rpartition("/")[0] == name
            if is_direct and file.endswith(WEIGHTS) and not file.endswith((LAST, PREVIOUS)):
                self.store.download(file, self.root / file)

    def check(self) -> None:
        """See `LocalStorage.check`."""
        for thread in self._threads:
            if thread.failure is not None:
                raise thread.failure

    def write(self, path: Path, text: str) -> None:
        """See `LocalStorage.write`."""
        self.store.write(self._name(path), text.encode())

    def remove(self, path: Path) -> None:
        """See `LocalStorage.remove`."""
        self._mirror.remove(self._name(path))

    def training_states(self) -> dict[Path, int]:
        """See `LocalStorage.training_states`."""
        names = (LAST, PREVIOUS)
        found = self.store.list().items()
        return {self.root / n: entry.size for n, entry in found if n.rpartition("/")[2] in names}

    @contextmanager
    def _leased(self, driver: Driver, note: Note) -> Iterator[None]:
        """Hold the lease, fetch the search, and upload what changes during the block."""
        with exclusive(self._own("lock"), _COPY_S):
            lease = Lease(self.store, driver, TIMES)
            lease.take(self._last_token(), note)
            write_text(self._own("token"), lease.token)
            self.store.patience_s = PATIENCE_S
            renewal = Periodic("lease", TIMES.renew_s, lease.renew)
            upload = Periodic("publish", _PUSH_S, lambda: self._exchange(lease), _REST)
            self._threads = [renewal, upload]
            try:
                with renewal.running():
                    self._mirror.reload()
                    self._mirror.pull()
                    with upload.running():
                        yield
            finally:
                self._threads = []
                self.store.patience_s = _READER_PATIENCE_S
                with suppress(ScrfdNasError):
                    lease.release()

    def _exchange(self, lease: Lease) -> None:
        while self._fetch_later:
            self._mirror.pull(self._fetch_later.pop())
        lease.confirm()
        self._mirror.push()

    def _driver_elsewhere(self) -> Driver | None:
        """Return the driver that has renewed the lease lately, by this machine's clock.

        The caller knows that no driver runs in this folder: a claim from here is stale.
        """
        claim = read_claim(self.store)
        if claim is None or claim.token == self._last_token():
            return None
        return claim.driver if claim_age_s(self.store, time.time()) < TIMES.stale_s else None

    def _last_token(self) -> str:
        """Return the token of the last driver in this folder; empty if there was none."""
        with suppress(OSError):
            return self._own("token").read_text(encoding="utf-8")
        return ""

    def _own(self, name: str) -> Path:
        return self.root / ORIGIN / name

    def _name(self, path: Path) -> str:
        return path.resolve().relative_to(self.root).as_posix()


def open_storage(root: Path) -> LocalStorage:
    """Return the storage of the search in `root`.

    Only a folder in `copies_folder()` can belong to a URL: a search directory from another
    user must not make us connect to a store of that user's choice.
    """
    if root.resolve().parent == copies_folder().resolve():
        with suppress(OSError):
            url = (root / ORIGIN / "url").read_text(encoding="utf-8")
            return _remote(root.resolve(), url)
    return LocalStorage(root)


@cache
def _remote(root: Path, url: str) -> RemoteStorage:
    """One object per folder, as it holds the threads and the lock of a driver."""
    return RemoteStorage(root, url)


def copies_folder() -> Path:
    """Return the folder of the local copies of all searches at URLs."""
    cache_home = os.environ.get("XDG_CACHE_HOME")
    return Path(cache_home or Path.home() / ".cache") / "scrfd-nas" / "searches"


def mark_copy(root: Path, url: str) -> None:
    """Make `root` the local copy of `url`."""
    if not isinstance(open_storage(root), RemoteStorage):
        write_text(root / ORIGIN / "url", url)


def is_mirrored(name: str) -> bool:
    """Return False for weights, locks, hidden and temporary files."""
    parts = name.split("/")
    is_lock = parts[-1] == "lock" or parts[-1].endswith(".lock")
    return not (is_lock or name.endswith(WEIGHTS) or any(part.startswith(".") for part in parts))
