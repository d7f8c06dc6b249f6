"""YOLO text labels: for each image a file with one line for each object.

A line is `class cx cy w h`, relative to the image's width and height, optionally followed by five
key points as `x y` or `x y v` (v as in COCO; a negative or all-zero point is missing). Labels are
found as ultralytics and YOLO5Face find them: the last folder `images` of the path becomes `labels`.
"""

import math
from pathlib import Path

from search_spaces.errors import DataError, shown
from trials.data.formats.annotation import Annotation, annotation, files_below, read_whole
from trials.data.images import WRITABLE, read_size
from trials.data.labels import NUM_KEYPOINTS

_BOX, _PAIRS, _TRIPLES = 5, 5 + 2 * NUM_KEYPOINTS, 5 + 3 * NUM_KEYPOINTS


def read_yolo(
    images: Path, labels: Path | None = None, wanted: str | None = None
) -> list[Annotation]:
    """Read the labels of all images below a folder; an image without a label file has no face.

    Args:
        images: folder of the images.
        labels: folder of the label files, None for `images` with `labels` in its place.
        wanted: number of the class of faces; None takes the only one that occurs.

    Raises:
        DataError: no image, no label file, a line breaks the format, there is no such class, or
            it is not clear.
    """
    files = files_below(images, WRITABLE, "image")
    folder = labels or labels_beside(images)
    if not folder.is_dir():
        raise DataError(f"{folder}: there is no such folder of labels; give it as --labels")
    named = {path: folder / path.relative_to(images).with_suffix(".txt") for path in files}
    if not any(label.is_file() for label in named.values()):
        first = next(iter(named.values()))
        raise DataError(f"{folder}: no image has a label file, such as {first}; give --labels")
    rows = {path: _rows(label) for path, label in named.items()}
    number = _class({int(row[0]) for lines in rows.values() for row in lines}, wanted, folder)
    return [
        _image(path, images, [row for row in lines if row[0] == number])
        for path, lines in rows.items()
    ]


def labels_beside(images: Path) -> Path:
    """Return the label folder of an image folder: its last part `images` becomes `labels`."""
    parts = list(images.resolve().parts)
    if "images" not in parts:
        return images
    last = len(parts) - 1 - parts[::-1].index("images")
    return Path(*parts[:last], "labels", *parts[last + 1 :])


def _class(found: set[int], wanted: str | None, folder: Path) -> int:
    listed = ", ".join(map(str, sorted(found)[:20]))
    if wanted is not None:
        if not wanted.isascii() or not wanted.isdigit():
            raise DataError(f"{folder}: YOLO labels know classes by number, got --class {wanted!r}")
        if found and int(wanted) not in found:
            raise DataError(f"{folder}: there is no class {wanted}; there are {listed}")
        return int(wanted)
    if len(found) > 1:
        raise DataError(f"{folder}: choose the class of faces with --class; there are {listed}")
    return next(iter(found), 0)


def _rows(path: Path) -> list[list[float]]:
    """The lines of a label file as numbers; none where there is no file."""
    if not path.is_file():
        return []
    text = read_whole(path).decode("utf-8-sig", errors="replace")
    lines = [(n, line.split()) for n, line in enumerate(text.splitlines(), 1) if line.strip()]
    return [_row(words, path, number) for number, words in lines]


def _row(words: list[str], path: Path, line: int) -> list[float]:
    try:
        values = [float(word) for word in words]
    except ValueError:
        values = [math.nan]
    if len(values) not in (_BOX, _PAIRS, _TRIPLES) or not all(map(math.isfinite, values)):
        rule = f"a line has a class, 4 box numbers and 0, {2 * NUM_KEYPOINTS} or "
        rule += f"{3 * NUM_KEYPOINTS} key-point numbers"
        raise DataError(f"{path}:{line}: {rule}, got {shown(' '.join(words))}")
    step = 3 if len(values) == _TRIPLES else 2
    places = values[1:_BOX] + [v for n, v in enumerate(values[_BOX:]) if n % step < 2]
    if not all(-1 <= value <= 2 for value in places) or values[0] not in range(1 << 20):
        rule = "the class is an integer from 0, and all places are relative to the sides (0 to 1)"
        raise DataError(f"{path}:{line}: {rule}, got {shown(' '.join(words))}")
    return values


def _image(path: Path, images: Path, rows: list[list[float]]) -> Annotation:
    width, height = read_size(path)
    boxes = [
        ((cx - w / 2) * width, (cy - h / 2) * height, w * width, h * height)
        for _, cx, cy, w, h, *_ in rows
    ]
    points = [_keypoints(row, width, height) for row in rows]
    name = path.relative_to(images).as_posix()
    return annotation(name, boxes, points, [False] * len(rows))


def _keypoints(row: list[float], width: int, height: int) -> list[float] | None:
    """Five key points in pixels in labelv2's convention, None without."""
    if len(row) == _BOX:
        return None
    step = 2 if len(row) == _PAIRS else 3
    numbers: list[float] = []
    for start in range(_BOX, len(row), step):
        x, y, *visibility = row[start : start + step]
        missing = x < 0 or y < 0 or x == y == 0 or visibility == [0.0]
        occluded = visibility == [1.0]
        numbers += [-1.0, -1.0, -1.0] if missing else [x * width, y * height, float(occluded)]
    return numbers
