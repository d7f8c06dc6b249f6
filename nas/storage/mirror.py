"""Keep a local folder and the files at a URL the same."""

import json
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from nas.storage.object_store import Entry, Store
from search_spaces.files import visible_files, write_text

_THREADS = 8
_RACY_NS = 2 * 10**9  # stores tell the time in whole seconds


@dataclass(frozen=True)
class Stamp:
    """Size of a local file in bytes, and time of its last change in ns."""

    size: int
    modified: int


def stamp(path: Path) -> Stamp | None:
    """Return the stamp of a local file; None if there is no such file."""
    try:
        found = path.stat()
    except OSError:
        return None
    return Stamp(found.st_size, found.st_mtime_ns)


def local_files(folder: Path) -> Iterator[tuple[str, Path]]:
    """Yield all files below `folder` with their relative names, except hidden ones."""
    for path in map(Path, visible_files(folder)):
        yield path.relative_to(folder).as_posix(), path


class Mirror:
    """A local folder and a store with the same files.

    Which version of a file both had in common is kept on disk (`manifest`), so that
    changes on the two sides are distinguished. Methods may be called from several threads;
    they raise StoreError where the store fails.

    Args:
        root: the local folder.
        store: the files at the URL.
        manifest: file for the common versions; if it is damaged, all files are fetched again.
        includes: returns whether the file with a name is mirrored.
    """

    def __init__(
        self, root: Path, store: Store, manifest: Path, includes: Callable[[str], bool]
    ) -> None:
        self.root, self.store = root, store
        self._manifest, self._includes = manifest, includes
        self._lock = threading.RLock()
        self.reload()

    def reload(self) -> None:
        """Read the manifest, which another process of this machine may have changed."""
        with self._lock:
            self._common, self._is_saved = _read(self._manifest), True

    def pull(self, folder: str = "") -> None:
        """Fetch what has changed in the store below `folder`, and remove what was removed there.

        A file that has changed here and not there stays as it is.
        """
        with self._lock:
            found = self.store.list(folder)
            remote = {name: entry for name, entry in found.items() if self._includes(name)}
            newest = max((entry.modified for entry in remote.values()), default=0)
            changed = [name for name, entry in remote.items() if not self._has(name, entry)]
            _for_all(lambda name: self._pull(name, remote[name], newest), changed)
            for name in [n for n in self._common if _is_below(n, folder) and n not in remote]:
                self._remove_here(name)
            if not folder:  # trials change often: their folders are saved with the next push
                self._save()

    def push(self) -> None:
        """Upload what has changed here. Files that are missing here stay in the store."""
        with self._lock:
            files = [item for item in local_files(self.root) if self._includes(item[0])]
            changed = [name for name, path in files if stamp(path) != self._stamp(name)]
            _for_all(self._push, changed)
            self._save()

    def remove(self, name: str) -> None:
        """Remove a file here and in the store."""
        with self._lock:
            (self.root / name).unlink(missing_ok=True)
            self.store.remove(name)
            self._set_common(name, None, None)

    def _has(self, name: str, entry: Entry) -> bool:
        is_same = name in self._common and self._common[name][1] == entry
        return is_same and stamp(self.root / name) is not None

    def _pull(self, name: str, entry: Entry, newest: int) -> None:
        if not self.store.download(name, self.root / name):
            return
        if newest - entry.modified <= _RACY_NS:
            # It may change within the same second of the store's clock: fetch it again.
            entry = Entry(entry.size, -1)
        self._set_common(name, stamp(self.root / name), entry)

    def _push(self, name: str) -> None:
        path = self.root / name
        before = stamp(path)  # a file that changes meanwhile is uploaded again next time
        try:
            content = path.read_bytes()
        except FileNotFoundError:
            return
        self.store.write(name, content)
        self._set_common(name, before, self.store.entry(name))

    def _remove_here(self, name: str) -> None:
        if stamp(self.root / name) == self._stamp(name):
            (self.root / name).unlink(missing_ok=True)
        self._set_common(name, None, None)

    def _stamp(self, name: str) -> Stamp | None:
        return self._common[name][0] if name in self._common else None

    def _set_common(self, name: str, here: Stamp | None, there: Entry | None) -> None:
        pair = None if here is None or there is None else (here, there)
        if self._common.get(name) == pair:
            return
        self._is_saved = False
        if pair is None:
            del self._common[name]
        else:
            self._common[name] = pair

    def _save(self) -> None:
        if self._is_saved:
            return
        content = {
            name: [here.size, here.modified, there.size, there.modified]
            for name, (here, there) in sorted(self._common.items())
        }
        write_text(self._manifest, json.dumps(content))
        self._is_saved = True


def _read(file: Path) -> dict[str, tuple[Stamp, Entry]]:
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
        return {
            str(name): (Stamp(int(a), int(b)), Entry(int(c), int(d)))
            for name, (a, b, c, d) in content.items()
        }
    except (OSError, ValueError, TypeError, AttributeError):
        return {}


def _is_below(name: str, folder: str) -> bool:
    return not folder or name.startswith(f"{folder}/")


def _for_all(act: Callable[[str], None], names: list[str]) -> None:
    """Call `act` with each name in several threads. Raises the first error after all calls."""
    if not names:
        return
    with ThreadPoolExecutor(min(_THREADS, len(names))) as pool:
        list(pool.map(act, names))
