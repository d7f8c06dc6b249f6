"""A local folder and the files at a URL, kept the same: what is newer goes the way it must."""

import threading
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from nas.storage.manifest import Manifest, local_files, settled, stamp
from nas.storage.object_store import Entry, Store

_AT_ONCE = 8


class Tree:
    """A local folder, and the store that holds the same files.

    Methods may be called from several threads; they raise StoreError where the store fails.

    Args:
        root: the local folder.
        store: of the URL.
        manifest: file in which is kept what was compared.
        carries: says of a name whether the file is kept the same.
    """

    def __init__(
        self, root: Path, store: Store, manifest: Path, carries: Callable[[str], bool]
    ) -> None:
        self.root, self.store, self._carries = root, store, carries
        self._manifest = Manifest(manifest)
        self._lock = threading.RLock()

    def reload(self) -> None:
        """Take over what another process of this machine has compared meanwhile."""
        with self._lock:
            self._manifest.reload()

    def pull(self, folder: str = "") -> None:
        """Fetch what is other in the store, below `folder`; what it no longer has goes here too.

        A file that was changed here and not there stays, to be pushed.
        """
        with self._lock:
            found = self.store.list(folder)
            there = {name: entry for name, entry in found.items() if self._carries(name)}
            newest = max((entry.modified for entry in there.values()), default=0)
            wanted = [name for name, entry in there.items() if not self._has(name, entry)]
            _all(lambda name: self._pull(name, there[name], newest), wanted)
            self._forget({name for name in self._manifest if _is_in(name, folder)} - set(there))
            if not folder:  # of single trials, hundreds a minute, it is saved with the next push
                self._manifest.save()

    def push(self) -> None:
        """Put what has changed here into the store; what is missing here stays there."""
        with self._lock:
            here = {n: p for n, p in local_files(self.root, self.root) if self._carries(n)}
            changed = [n for n, path in here.items() if stamp(path) != self._manifest.here(n)]
            _all(self._push, changed)
            self._manifest.save()

    def remove(self, name: str) -> None:
        """Take a file away, here and there."""
        with self._lock:
            (self.root / name).unlink(missing_ok=True)
            self.store.remove(name)
            self._manifest.drop(name)

    def _has(self, name: str, entry: Entry) -> bool:
        return self._manifest.there(name) == entry and stamp(self.root / name) is not None

    def _pull(self, name: str, entry: Entry, newest: int) -> None:
        if self.store.download(name, self.root / name):
            self._manifest.note(name, stamp(self.root / name), settled(entry, newest))

    def _push(self, name: str) -> None:
        path = self.root / name
        before = stamp(path)  # a file that is written meanwhile is pushed again next time
        try:
            content = path.read_bytes()
        except FileNotFoundError:
            return
        self.store.write(name, content)
        self._manifest.note(name, before, self.store.entry(name))

    def _forget(self, names: Iterable[str]) -> None:
        for name in names:
            if stamp(self.root / name) == self._manifest.here(name):
                (self.root / name).unlink(missing_ok=True)
            self._manifest.drop(name)


def _is_in(name: str, folder: str) -> bool:
    return not folder or name.startswith(f"{folder}/")


def _all(act: Callable[[str], None], names: list[str]) -> None:
    """`act` on all names, several at a time. Raises the first error, when the others are done."""
    if len(names) < 2:
        for name in names:
            act(name)
        return
    with ThreadPoolExecutor(min(_AT_ONCE, len(names))) as pool:
        list(pool.map(act, names))
