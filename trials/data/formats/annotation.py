"""Annotations of one image as any format gives them, and how their image is found.

Shapes: N faces, 5 key points, 3 = (x, y, flag).
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TypeVar

import numpy as np

from search_spaces.errors import DataError, shown
from search_spaces.files import read_bytes, visible_files
from trials.data.labels import MAX_COORDINATE, NUM_KEYPOINTS, Faces

MAX_FILE_BYTES = 256 << 20  # a COCO file of WIDER FACE has about 30 MB

Key = TypeVar("Key", int, str)


@dataclass(frozen=True, kw_only=True, eq=False)
class Annotation:
    """Faces of one image.

    Attributes:
        name: path of the image below the image folder, with forward slashes.
        faces: in pixels of the image; boxes xyxy.
        dropped: number of boxes without width or height, which `faces` lacks.
        size: width and height for which the boxes were written, None where they are not known.
    """

    name: str
    faces: Faces
    dropped: int = 0
    size: tuple[int, int] | None = None


def annotation(
    name: str,
    xywh: Sequence[Sequence[float]],
    keypoints: Sequence[Sequence[float] | None],
    ignored: Sequence[bool],
    size: tuple[int, int] | None = None,
) -> Annotation:
    """Build an `Annotation` from plain numbers.

    Args:
        name, size: as in `Annotation`; a size of 0 is taken as not known.
        xywh: N boxes, left, top, width and height in pixels.
        keypoints: for each box 15 numbers (x, y, flag as in labelv2), or None.
        ignored: for each box whether it takes no part in training.

    Raises:
        DataError: a number is not finite or beyond a million.
    """
    xywh_N4 = np.array(xywh, np.float64).reshape(-1, 4)
    if not (np.abs(xywh_N4) <= MAX_COORDINATE).all():
        rule = f"boxes must be finite and within +-{MAX_COORDINATE:.0f}"
        raise DataError(f"{name}: {rule}, got {shown(xywh_N4.tolist())}")
    corners_N4 = np.concatenate([xywh_N4[:, :2], xywh_N4[:, :2] + xywh_N4[:, 2:]], axis=1)
    faces = Faces.of_boxes(corners_N4)
    faces.ignored_N[:] = ignored
    for index, numbers in enumerate(keypoints):
        if numbers is not None:
            points_53 = np.reshape(np.asarray(numbers, np.float64), (NUM_KEYPOINTS, 3))
            if not (np.abs(points_53) <= MAX_COORDINATE).all():
                raise DataError(f"{name}: key points must be finite, got {shown(numbers)}")
            faces.keypoints_N53[index] = points_53
    kept_N = np.asarray((xywh_N4[:, 2:] > 0).all(axis=1))
    dropped = int((~kept_N).sum())
    known = size if size and all(size) else None
    return Annotation(name=name, faces=faces.select(kept_N), dropped=dropped, size=known)


def choose_class(classes: Mapping[Key, str], wanted: str | None, source: str) -> Key:
    """Return the number of the class of faces.

    Args:
        classes: names by number.
        wanted: a name or a number; None takes the only class, or the one named `face`.
        source: file name for error messages.

    Raises:
        DataError: there is no such class, or the choice is not clear.
    """
    if not classes:
        raise DataError(f"{source}: there is no class")
    listed = ", ".join(f"{number} ({name})" for number, name in sorted(classes.items())[:20])
    if wanted is not None:
        matches = [n for n, name in classes.items() if wanted in (name, str(n))]
        if len(matches) == 1:
            return matches[0]
        problem = "several classes match" if matches else "there is no class"
        raise DataError(f"{source}: {problem} {wanted!r}; the classes are {listed}")
    named = [number for number, name in classes.items() if name.lower() in ("face", "faces")]
    if len(classes) == 1 or len(named) == 1:
        return named[0] if named else next(iter(classes))
    raise DataError(f"{source}: choose the class of faces with --class; the classes are {listed}")


def image_finder(root: Path, source: str) -> Callable[[str], str]:
    """Return a function from an image path as annotated to its path below `root`.

    Annotations often hold backslashes, absolute paths of another machine, or one folder too many.
    The longest end of the path that exists below `root` is taken.

    Args:
        root: folder of the images.
        source: file name for error messages.

    Raises:
        DataError: (by the returned function) no end of the path exists below `root`.
    """

    def find(given: str) -> str:
        parts = PurePosixPath(given.replace("\\", "/")).parts
        for start in range(len(parts)):
            inner = parts[start:]
            if ".." in inner or inner[0].endswith((":", "/")) or "\0" in given:
                continue
            try:
                found = (root / Path(*inner)).is_file()
            except OSError:  # the name is too long for the file system
                continue
            if found:
                return "/".join(inner)
        raise DataError(
            f"{source}: the image {shown(given)} is not below {root}; give the folder that the "
            "file names are relative to as --images"
        )

    return find


def files_below(folder: Path, suffixes: Sequence[str], kind: str) -> list[Path]:
    """Return the visible files below a folder with one of these suffixes, at least one.

    Raises:
        DataError: this is no folder, or there is none; `kind` names such a file.
    """
    if not folder.is_dir():
        raise DataError(f"{folder}: is no folder; give one that holds {kind} files")
    files = [Path(path) for path in visible_files(folder, suffixes)]
    if not files:
        raise DataError(f"{folder}: there is no {kind} file ({', '.join(suffixes)})")
    return files


def read_whole(path: Path) -> bytes:
    """Read an annotation file. Raises DataError: missing, unreadable or larger than 256 MiB."""
    return read_bytes(path, MAX_FILE_BYTES)
