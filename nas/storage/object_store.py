"""Files below a URL, through pyarrow: listed, read, and written whole or not at all.

pyarrow is a dependency of Ray Tune. It takes credentials from the environment and options, such
as `?region=eu-west-1` or `?endpoint_override=minio:9000&scheme=http`, from the URL.
"""

import shutil
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

from nas.storage import urls
from search_spaces.errors import ConfigError, ScrfdNasError
from search_spaces.files import is_disk_full, replacing

PATIENCE_S = 60.0
MAX_READ_BYTES = 1 << 20  # limit of what is read into memory
_CHUNK_BYTES = 8 << 20  # a request each
# pyarrow's own attempts end after 6 s on S3, and it has none for other filesystems.
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.5, 15.0
_WRITES_WHOLE = ("s3", "gcs", "abfs")  # an object appears when it is complete
# Errors that waiting does not resolve, as the stores word them.
_FINAL = ("ACCESS_DENIED", "NO_SUCH_BUCKET", "INVALID_ACCESS_KEY", "SIGNATURE_DOES_NOT", "EXPIRED")
_LONGEST_TEXT = 300

T = TypeVar("T")


class StoreError(ScrfdNasError):
    """A request to the store at a URL failed; no finished result is lost."""


@dataclass(frozen=True)
class Entry:
    """Size of a file in a store in bytes, and time of writing in ns by the store's clock."""

    size: int
    modified: int


class Store:
    """The files below one URL, by their names relative to it.

    Args:
        url: see `nas.storage.urls.check_url`.
        patience_s: seconds for which a failing request is repeated; each method raises
            StoreError after that. May be changed.

    Raises:
        ConfigError: pyarrow has no filesystem for the URL.
    """

    def __init__(self, url: str, patience_s: float = PATIENCE_S) -> None:
        self.url, self.patience_s = url, patience_s

    def __str__(self) -> str:
        return self.url

    def list(self, folder: str = "") -> dict[str, Entry]:
        """Return all files below `folder` by name; none if there is no such folder."""
        from pyarrow import fs

        system, root = self._place
        start = f"{root}/{folder}" if folder else root
        selector = fs.FileSelector(start, recursive=True, allow_not_found=True)
        found = self._tried("listed", folder, lambda: system.get_file_info(selector))
        files = [info for info in found if info.type == fs.FileType.File]
        named = {info.path[len(root) :].strip("/"): info for info in files}
        return {name: _entry(info) for name, info in sorted(named.items()) if _is_safe(name)}

    def folders(self) -> Sequence[str]:
        """Return the names of the folders directly below the URL."""
        from pyarrow import fs

        system, root = self._place
        selector = fs.FileSelector(root, allow_not_found=True)
        found = self._tried("listed", "", lambda: system.get_file_info(selector))
        names = [info.base_name for info in found if info.type == fs.FileType.Directory]
        return sorted(filter(_is_safe, names))

    def entry(self, name: str) -> Entry | None:
        """Return one file; None if there is no such file."""
        from pyarrow import fs

        info = self._tried("seen", name, lambda: self._system.get_file_info(self._path(name)))
        return _entry(info) if info.type == fs.FileType.File else None

    def read(self, name: str) -> bytes | None:
        """Return the content of a file, cut to 1 MiB; None if there is no such file."""

        def read() -> bytes:
            with self._opened(name) as stream:
                return bytes(stream.read(MAX_READ_BYTES))

        try:
            return self._tried("read", name, read)
        except FileNotFoundError:
            return None

    def write(self, name: str, content: bytes) -> None:
        """Write a file; readers see the old or the new content, never a part."""
        self._tried("written", name, lambda: self._write(self._path(name), content))

    def remove(self, name: str) -> None:
        """Remove a file, if it exists."""
        with suppress(FileNotFoundError):
            self._tried("removed", name, lambda: self._system.delete_file(self._path(name)))

    def download(self, name: str, path: Path) -> bool:
        """Download a file of any size to the local `path`; return False if there is none."""

        def copy(target: Path) -> None:
            with self._opened(name) as stream, target.open("wb") as file:
                shutil.copyfileobj(stream, file, _CHUNK_BYTES)

        try:
            with replacing(path) as temporary:
                self._tried("read", name, lambda: copy(temporary))
        except FileNotFoundError:
            return False
        return True

    @cached_property
    def _place(self) -> tuple[Any, str]:
        """pyarrow's filesystem, and the path of the URL in it."""
        from pyarrow import fs

        def connect() -> Any:
            return fs.FileSystem.from_uri(self.url)

        try:
            system, path = self._tried("reached", "", connect)
        except (ValueError, NotImplementedError) as error:
            rule = "--search-dir takes a path or a URL of s3://, gs://, abfs:// or file://"
            raise ConfigError(f"{self.url}: {_one_line(error)}; {rule}") from error
        return system, path.rstrip("/")

    @property
    def _system(self) -> Any:
        return self._place[0]

    def _opened(self, name: str) -> Any:
        # Otherwise pyarrow decompresses files by their ending, whatever their size.
        return self._system.open_input_stream(self._path(name), compression=None)

    def _path(self, name: str) -> str:
        return f"{self._place[1]}/{name}"

    def _write(self, path: str, content: bytes) -> None:
        if self._system.type_name in _WRITES_WHOLE:
            self._put(path, content)
            return
        folder, _, name = path.rpartition("/")
        self._system.create_dir(folder, recursive=True)
        temporary = f"{folder}/.{name}.{time.monotonic_ns():x}.tmp"
        self._put(temporary, content)
        self._system.move(temporary, path)

    def _put(self, path: str, content: bytes) -> None:
        # Not `with`, which would complete a partial file after an exception.
        stream = self._system.open_output_stream(path, compression=None)
        stream.write(content)
        stream.close()

    def _tried(self, done: str, name: str, act: Callable[[], T]) -> T:
        """Call `act` until it succeeds or `patience_s` is over. Raises StoreError."""
        end, pause = time.monotonic() + self.patience_s, _FIRST_PAUSE_S
        while True:
            try:
                return act()
            except FileNotFoundError:
                raise
            except OSError as error:
                if _is_final(error) or time.monotonic() + pause > end:
                    where = urls.below(self.url, name)
                    text = f"{where}: cannot be {done} ({_one_line(error)}); resolve this, then the"
                    raise StoreError(f"{text} same command continues") from error
            time.sleep(pause)
            pause = min(2 * pause, _LONGEST_PAUSE_S)


def _entry(info: Any) -> Entry:
    return Entry(size=int(info.size), modified=int(info.mtime_ns or 0))


def _is_safe(name: str) -> bool:
    """Return whether a name stays below a local folder that it is joined to."""
    return not any(part in ("", ".", "..") for part in name.split("/")) and "\0" not in name


def _is_final(error: OSError) -> bool:
    text = str(error).upper()
    is_refused = isinstance(error, PermissionError) or any(word in text for word in _FINAL)
    return is_refused or is_disk_full(error)


def _one_line(error: BaseException) -> str:
    text = " ".join(str(error).split()) or type(error).__name__
    return text if len(text) <= _LONGEST_TEXT else f"{text[:_LONGEST_TEXT]}..."
