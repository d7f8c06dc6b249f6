"""Detections as WIDER FACE text: event folders with one file an image, or an archive of them.

A file has a name line, which is ignored in favour of the path, a line with the number of
faces and one line `x y width height score` a face, in pixels.
"""

import os
import shutil
import tarfile
import tempfile
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NoReturn

import numpy as np
from numpy.typing import NDArray

from search_spaces.errors import DataError, shown
from search_spaces.files import is_hidden, visible_files
from trials.data.ground_truth import split_name
from trials.evaluation.widerface_ap import prediction_array

COLUMNS = 5
SUFFIX = ".txt"
MAX_FILE_BYTES = 64 << 20


def read_predictions(source: str | os.PathLike[str]) -> dict[str, NDArray[np.float64]]:
    """Read every prediction file below a folder, or in a tar archive (.tar, .tar.gz, .tgz).

    Returns:
        Path in the source without suffix, usually `event/file` -> (N, 5) x, y, width, height,
        score; N may be 0.

    Raises:
        DataError: neither a folder nor an archive, no prediction file in it, a member twice in
            an archive, or a malformed file (the message names the file and the line).
    """
    root = Path(source)
    if not root.is_dir() and not root.is_file():
        rule = "predictions must be a folder of event folders with .txt files, or a tar archive"
        raise DataError(f"{root}: {rule}; there is neither")
    predictions: dict[str, NDArray[np.float64]] = {}
    for name, path, content in _files(root) if root.is_dir() else _members(root):
        if name in predictions:
            raise DataError(f"{path}: is in the archive twice")
        predictions[name] = _parse(path, content)
    if not predictions:
        archives = sorted(file.name for file in root.glob("*.tar*")) if root.is_dir() else []
        hint = f"; to score an archive, name it: {root / archives[0]}" if archives else ""
        raise DataError(f"{root}: has no <event>/<image>.txt prediction file{hint}")
    return predictions


def write_predictions(
    folder: str | os.PathLike[str], predictions: Mapping[str, NDArray[np.floating]]
) -> None:
    """Write predictions so that `read_predictions` returns the same numbers.

    The folder appears with all its files at once.

    Args:
        folder: must not exist, or be empty.
        predictions: image name `event/file` -> (N, 5) x, y, width, height, score.

    Raises:
        DataError: the folder is not empty; a name is not `event/file` or leads outside; an
            array has another shape or values that are not finite.
    """
    target = Path(folder)
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise DataError(
            f"{target}: predictions go into a new or empty folder, this one is not empty"
        )
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(prefix=f".{target.name}.", dir=target.parent))
    try:
        inner = temporary / "predictions"
        inner.mkdir()  # with the usual permissions, which mkdtemp does not give
        for name, rows in predictions.items():
            _write_file(inner, name, prediction_array(rows, name))
        inner.replace(target)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _files(root: Path) -> Iterator[tuple[str, str, bytes]]:
    """Yield name, path and content of every prediction file below `root`, sorted."""
    for path in visible_files(root, (SUFFIX,)):
        name = os.path.relpath(path, root)
        if _is_prediction(name):
            yield _name(name), path, _read(path)


def _members(archive: Path) -> Iterator[tuple[str, str, bytes]]:
    """Yield name, path and content of every prediction file in a tar archive.

    Links and devices are left out; nothing is written to disk.
    """
    try:
        with tarfile.open(archive) as opened:
            for member in opened:
                path = f"{archive}:{member.name}"
                if not member.isfile() or not _is_prediction(member.name.removeprefix("./")):
                    continue
                _check_inside(archive, member.name)
                _check_size(path, member.size)
                stream = opened.extractfile(member)
                yield _name(member.name), path, stream.read() if stream else b""
    except (tarfile.TarError, EOFError, zlib.error, OSError) as error:
        raise DataError(f"{archive}: is not a readable tar archive ({error})") from error


def _is_prediction(name: str) -> bool:
    """Return whether a name is `event/file.txt` without hidden parts, as macOS adds them."""
    return name.endswith(SUFFIX) and "/" in name and not is_hidden(name)


def _check_inside(archive: Path, name: str) -> None:
    """Refuse a name that belongs to no event, as only a hostile archive has it."""
    if name.startswith("/") or ".." in name.split("/"):
        raise DataError(f"{archive}: a member must stay inside the archive, got {shown(name)}")


def _check_size(path: str, size: int) -> None:
    """Refuse a file that would fill the memory when parsed."""
    if size > MAX_FILE_BYTES:
        limit = f"{MAX_FILE_BYTES >> 20} MiB"
        raise DataError(f"{path}: a prediction file may have {limit}, got {size >> 20} MiB")


def _name(path: str) -> str:
    return path.replace(os.sep, "/").removeprefix("./").removesuffix(SUFFIX)


def _read(path: str) -> bytes:
    try:
        with open(path, "rb") as stream:  # noqa: PTH123  (Path costs as much as the parsing)
            _check_size(path, os.fstat(stream.fileno()).st_size)
            return stream.read()
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror})") from error


def _parse(path: str, content: bytes) -> NDArray[np.float64]:
    """Return the predictions (N, 5) of one file."""
    content = content.rstrip()
    lines = content.split(b"\n")
    rows = [line.split() for line in lines[2:]]
    strange = b"_" in content[len(lines[0]) :]  # Python reads 1_0 as a number
    try:
        whole = int(lines[1]) == len(rows) and all(len(row) == COLUMNS for row in rows)
        values = np.array([float(word) for row in rows for word in row], dtype=np.float64)
    except (ValueError, IndexError):
        _explain(path, lines)
    if strange or not whole or not np.isfinite(values).all():
        _explain(path, lines)
    return values.reshape(-1, COLUMNS)


def _explain(path: str, lines: list[bytes]) -> NoReturn:
    """Raise the error that names the first faulty line; for speed not part of `_parse`."""
    count = lines[1].strip() if len(lines) > 1 else b""
    if not count.isdigit():
        raise DataError(
            f"{path}:2: the second line must be the number of faces, got {_show(count)}"
        )
    for number, line in enumerate(lines[2:], start=3):
        if not _is_row(line):
            raise DataError(
                f"{path}:{number}: a face is five finite numbers `x y width height score`, "
                f"got {_show(line)}"
            )
    raise DataError(f"{path}:2: announces {int(count)} faces, the file lists {len(lines) - 2}")


def _is_row(line: bytes) -> bool:
    """Return whether a line has five finite numbers."""
    words = line.split()
    if len(words) != COLUMNS or b"_" in line:
        return False
    try:
        return all(np.isfinite(float(word)) for word in words)
    except ValueError:
        return False


def _show(text: bytes) -> str:
    """Return the start of a line, safe to print."""
    return repr(text[:60].decode("utf-8", "replace"))


def _write_file(root: Path, name: str, rows: NDArray[np.float64]) -> None:
    """Write the predictions of one image."""
    event, file = split_name(name, "predictions")
    lines = [f"{file}.jpg", str(len(rows)), *(" ".join(map(repr, row)) for row in rows.tolist())]
    folder = root / event
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{file}{SUFFIX}").write_text("\n".join(lines) + "\n", encoding="utf-8")
