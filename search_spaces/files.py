"""Safe reading, writing and listing of files: atomic writes, bounded reads, no hidden files."""

import errno
import json
import os
import stat
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from search_spaces.errors import ConfigError, DataError

MAX_CONFIG_BYTES = 1 << 20  # untrusted YAML must not fill the memory


@contextmanager
def replacing(path: str | os.PathLike[str], suffix: str = ".tmp") -> Iterator[Path]:
    """Yield a temporary path beside `path`; rename it onto `path` if the block succeeds.

    Its name is hidden and ends in `suffix`, by which some libraries choose the format.

    Readers see the old file or the new one, never a part. The data is flushed to disk before
    the rename, so that this holds after a power failure as well.
    """
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(prefix=f".{target.name}.", suffix=suffix, dir=target.parent)
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        with temporary.open("rb") as written:
            os.fsync(written.fileno())
        temporary.chmod(0o666 & ~_umask())
        os.replace(temporary, target)
    finally:
        temporary.unlink(missing_ok=True)


def remove_left_overs(folder: str | os.PathLike[str], older_than_s: float = 0.0) -> None:
    """Remove temporary files in `folder` that killed processes left in `replacing`.

    Without an age, no other process may be writing to the folder.
    """
    for path in Path(folder).glob(".*.tmp"):
        try:
            if time.time() - path.stat().st_mtime >= older_than_s:
                path.unlink()
        except OSError:  # removed by another process
            continue


def is_hidden(name: str) -> bool:
    """Return whether a part of a relative path is hidden, as `._photo.jpg` that macOS adds."""
    return any(part.startswith(".") and part not in (".", "..") for part in name.split("/"))


def visible_files(folder: str | os.PathLike[str], suffixes: Sequence[str] = ("",)) -> Iterator[str]:
    """Yield the paths of the files below `folder` that end in one of `suffixes`, in any case.

    Hidden files and folders are left out, and pipes, sockets and devices, whose reading could wait
    for ever. Links are followed, but no folder is entered twice.
    The files of each folder are sorted, and come before those of its folders, also sorted.
    """
    entered: set[str] = set()
    for parent, folders, files in os.walk(folder, followlinks=True):
        real = os.path.realpath(parent)
        folders[:] = [] if real in entered else sorted(n for n in folders if not is_hidden(n))
        for file in () if real in entered else sorted(files):
            path = os.path.join(parent, file)
            if file.lower().endswith(tuple(suffixes)) and not (is_hidden(file) or _waits(path)):
                yield path
        entered.add(real)


def _waits(path: str) -> bool:
    """Return whether a path is a pipe, socket or device; a broken link is none."""
    try:
        return not stat.S_ISREG(os.stat(path).st_mode)
    except OSError:
        return False


def is_disk_full(error: BaseException | None) -> bool:
    """Return whether `error` or one of its causes reports a full disk or quota."""
    while error is not None:
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
            return True
        error = error.__cause__ or error.__context__
    return False


def _umask() -> int:
    """Return the umask of the process, which can only be read by setting it."""
    mask = os.umask(0o022)
    os.umask(mask)
    return mask


def write_text(path: str | os.PathLike[str], text: str) -> None:
    """Write UTF-8 `text` to `path` atomically."""
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: str | os.PathLike[str], value: Any) -> None:
    """Write `value` as indented JSON to `path` atomically. NaN is refused (ValueError)."""
    write_text(path, json.dumps(value, indent=2, allow_nan=False) + "\n")


def read_json(path: str | os.PathLike[str]) -> Any:
    """Parse a small JSON file.

    Raises:
        ConfigError: as `read_text`, or not JSON.
    """
    try:
        return json.loads(read_text(path))
    except (json.JSONDecodeError, RecursionError) as error:
        raise ConfigError(f"{path}: is not valid JSON ({error})") from error


def read_bytes(path: str | os.PathLike[str], limit: int) -> bytes:
    """Read a file of at most `limit` bytes.

    Raises:
        DataError: the file is missing, unreadable or too large.
    """
    try:
        size = os.stat(path).st_size
        if size > limit:
            raise DataError(f"{path}: the file may have {limit >> 20} MiB, got {size} bytes")
        return Path(path).read_bytes()
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror or error})") from error


def read_text(path: str | os.PathLike[str], limit: int = MAX_CONFIG_BYTES) -> str:
    """Read a UTF-8 file of at most `limit` bytes.

    Raises:
        ConfigError: the file is missing, unreadable, too large, or not UTF-8.
    """
    try:
        size = os.stat(path).st_size
        if size > limit:
            raise ConfigError(f"{path}: the file may have {limit >> 20} MiB, got {size} bytes")
        return Path(path).read_text(encoding="utf-8-sig")
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read ({error.strerror or error})") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: is not UTF-8 text ({error.reason})") from error
