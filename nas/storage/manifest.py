"""What a local folder and a store had in common when they were last compared, file by file."""

import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from nas.storage.object_store import Entry
from search_spaces.files import write_text

_RACY_NS = 2 * 10**9  # stores tell the time in whole seconds


@dataclass(frozen=True)
class Stamp:
    """A local file's size in bytes and time of change in ns."""

    size: int
    modified: int


def stamp(path: Path) -> Stamp | None:
    """Of a local file; None if there is none."""
    try:
        found = path.stat()
    except OSError:
        return None
    return Stamp(found.st_size, found.st_mtime_ns)


class Manifest:
    """By name: the local file and the store's that had the same content.

    Args:
        file: where it is kept; a damaged one counts as none, and everything is compared anew.
    """

    def __init__(self, file: Path) -> None:
        self._file = file
        self.reload()

    def __iter__(self) -> Iterator[str]:
        return iter(list(self._pairs))

    def reload(self) -> None:
        """Take what is on disk."""
        self._pairs, self._is_saved = _read(self._file), True

    def note(self, name: str, here: Stamp | None, there: Entry | None) -> None:
        """Both are the same now."""
        if here is None or there is None:
            self.drop(name)
        elif self._pairs.get(name) != (here, there):
            self._pairs[name], self._is_saved = (here, there), False

    def drop(self, name: str) -> None:
        """Nothing is known of a file."""
        if self._pairs.pop(name, None) is not None:
            self._is_saved = False

    def here(self, name: str) -> Stamp | None:
        """The local file, as it was the same."""
        return self._pairs[name][0] if name in self._pairs else None

    def there(self, name: str) -> Entry | None:
        """The store's file, as it was the same."""
        return self._pairs[name][1] if name in self._pairs else None

    def save(self) -> None:
        """Keep it on disk, if it is not there as it is."""
        if self._is_saved:
            return
        content = {
            name: [here.size, here.modified, there.size, there.modified]
            for name, (here, there) in sorted(self._pairs.items())
        }
        write_text(self._file, json.dumps(content))
        self._is_saved = True


def settled(entry: Entry, newest: int) -> Entry:
    """`entry`, or one that equals none where it may change without looking changed.

    That is so while it could be written again within the same second of the store's clock, of
    which `newest`, the youngest file's time, is the best guess.
    """
    return entry if newest - entry.modified > _RACY_NS else Entry(entry.size, -1)


def local_files(root: Path, folder: Path) -> Iterator[tuple[str, Path]]:
    """All files below `folder`, by their names relative to `root`."""
    for parent, folders, files in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for file in sorted(files):
            path = Path(parent, file)
            yield path.relative_to(root).as_posix(), path


def _read(file: Path) -> dict[str, tuple[Stamp, Entry]]:
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
        return {
            str(name): (Stamp(int(a), int(b)), Entry(int(c), int(d)))
            for name, (a, b, c, d) in content.items()
        }
    except (OSError, ValueError, TypeError, AttributeError):
        return {}
