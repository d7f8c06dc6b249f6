"""Face annotations in memory, and the `labelv2.txt` files that hold them.

A label file has a line `# <image path> <width> <height>` for every image, followed by a
line for every face (REFERENCE facts, section 11):

- `x1 y1 x2 y2`: a box;
- `x1 y1 x2 y2 flag`: a box and an ignore flag (1 = takes no part in training);
- `x1 y1 x2 y2` and 5 x (`x y flag`): a box and five key points (left eye, right eye, nose,
  left and right mouth corner as seen in the image), flag 0 visible, 1 occluded; `-1 -1 -1`
  for a key point that is not annotated.

Shapes: N faces, 5 key points, 3 = (x, y, flag).
"""

import math
import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import BinaryIO

import numpy as np
import numpy.typing as npt

from search_spaces.errors import DataError
from search_spaces.files import write_text

NUM_KEYPOINTS = 5
MAX_IMAGE_SIDE = 65_535  # the most that a JPEG can have
MAX_COORDINATE = 1e6  # float32 still resolves a tenth of a pixel there
MAX_LINE_BYTES = 16_384
UNREADABLE_IMAGE = "# \ufffd"
NUMBERS_A_LINE = (4, 5, 4 + 3 * NUM_KEYPOINTS)

FloatArray = npt.NDArray[np.float32]
BoolArray = npt.NDArray[np.bool_]


@dataclass(frozen=True, kw_only=True, eq=False)
class Faces:
    """The annotated faces of one image; there may be none.

    Attributes:
        boxes_N4: float32, (x1, y1, x2, y2) in pixels.
        keypoints_N53: float32, (x, y, flag); (-1, -1, -1) where not annotated.
        ignored_N: faces that take no part in training.
    """

    boxes_N4: FloatArray
    keypoints_N53: FloatArray
    ignored_N: BoolArray

    def __post_init__(self) -> None:
        count = len(self.boxes_N4)
        _require_array("boxes_N4", self.boxes_N4, (count, 4), np.float32)
        _require_array("keypoints_N53", self.keypoints_N53, (count, NUM_KEYPOINTS, 3), np.float32)
        _require_array("ignored_N", self.ignored_N, (count,), np.bool_)

    def __len__(self) -> int:
        return len(self.boxes_N4)

    @property
    def annotated(self) -> BoolArray:
        """Which key points are annotated, (N, 5): not (-1, -1, -1)."""
        return np.asarray((self.keypoints_N53 != -1).any(axis=2))

    def select(self, chosen: npt.NDArray[np.bool_] | npt.NDArray[np.int64]) -> "Faces":
        """The faces that a mask or an index array chooses."""
        return Faces(
            boxes_N4=self.boxes_N4[chosen],
            keypoints_N53=self.keypoints_N53[chosen],
            ignored_N=self.ignored_N[chosen],
        )

    @staticmethod
    def none() -> "Faces":
        """No faces."""
        return Faces.of_boxes(np.zeros((0, 4), np.float32))

    @staticmethod
    def of_boxes(boxes_N4: npt.ArrayLike) -> "Faces":
        """Faces without key points, none of them ignored."""
        boxes = np.asarray(boxes_N4, np.float32).reshape(-1, 4)
        return Faces(
            boxes_N4=boxes,
            keypoints_N53=np.full((len(boxes), NUM_KEYPOINTS, 3), -1, np.float32),
            ignored_N=np.zeros(len(boxes), np.bool_),
        )


def _require_array(name: str, value: object, shape: tuple[int, ...], dtype: type) -> None:
    """Raise unless `value` is an array of that shape and type."""
    if not isinstance(value, np.ndarray) or value.shape != shape or value.dtype != dtype:
        found = f"{getattr(value, 'dtype', type(value).__name__)}{getattr(value, 'shape', '')}"
        raise DataError(f"{name} must be {np.dtype(dtype).name}{shape}, got {found}")


@dataclass(frozen=True, kw_only=True, eq=False)
class AnnotatedImage:
    """One image of a label file.

    Attributes:
        name: path as the label file has it, below the image root, with forward slashes.
        path: where the image lies.
        width: pixels, as the label file has it.
        height: pixels, as the label file has it.
        faces: its faces.
    """

    name: str
    path: Path
    width: int
    height: int
    faces: Faces


@dataclass(frozen=True, kw_only=True)
class Fault:
    """What is wrong with a data set, and where. `line` counts from 1; 0 is the whole file."""

    file: str
    line: int
    message: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line}: {self.message}" if self.line else self._whole()

    def _whole(self) -> str:
        return f"{self.file}: {self.message}"


@dataclass(frozen=True, kw_only=True, eq=False)
class LabelRecord:
    """An image of a label file with the lines that it came from."""

    image: AnnotatedImage
    line: int
    face_lines: tuple[int, ...]


def read_labelv2(path: str | os.PathLike[str], image_root: Path) -> list[AnnotatedImage]:
    """Read a label file; any fault in it is an error.

    Args:
        path: the label file.
        image_root: folder that the image paths are relative to.

    Raises:
        DataError: names the file, the line and the rule broken.
    """

    def stop(fault: Fault) -> None:
        raise DataError(str(fault))

    return [record.image for record in scan_labelv2(path, image_root, stop)]


def scan_labelv2(
    path: str | os.PathLike[str], image_root: Path, report: Callable[[Fault], None]
) -> Iterator[LabelRecord]:
    """Read a label file and go on after faults, each of which is reported.

    A faulty face line is left out of its image; the faces after a faulty image line are
    left out as well. Existence of the images is not checked.

    Raises:
        DataError: the file cannot be opened.
    """
    header: tuple[int, str, int, int] | None = None
    lines: list[int] = []
    rows: list[list[float]] = []
    orphans = True  # face lines that follow a faulty image line are not reported again
    for number, text in text_lines(path, report):
        if not text.startswith("#"):
            row = None
            if header is not None:
                row = _face_row(text, str(path), number, report)
            elif orphans:
                report(Fault(file=str(path), line=number, message="face before any image line"))
                orphans = False
            if row is not None:
                rows.append(row)
                lines.append(number)
            continue
        if header is not None:
            yield _record(header, image_root, rows, lines)
        header, lines, rows, orphans = None, [], [], False
        if text == UNREADABLE_IMAGE:
            continue
        try:
            header = (number, *parse_image_line(text))
        except DataError as error:
            report(Fault(file=str(path), line=number, message=str(error)))
    if header is not None:
        yield _record(header, image_root, rows, lines)


def text_lines(
    path: str | os.PathLike[str], report: Callable[[Fault], None]
) -> Iterator[tuple[int, str]]:
    """Number and text of every line that is not blank.

    Lines that are not UTF-8 or far too long are reported and left out, except that one which
    starts with `#` is handed on as `UNREADABLE_IMAGE`, so that its faces go to no other image.

    Raises:
        DataError: the file cannot be opened.
    """
    number = 0
    try:
        with Path(path).open("rb") as stream:
            while raw := stream.readline(MAX_LINE_BYTES):
                number += 1
                try:
                    text = _line_text(raw, stream)
                except DataError as error:
                    if raw.lstrip().startswith(b"#"):
                        yield number, UNREADABLE_IMAGE  # first: the image before it is sound
                    report(Fault(file=str(path), line=number, message=str(error)))
                    continue
                if text:
                    yield number, text
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror or error})") from error


def _line_text(start: bytes, stream: BinaryIO) -> str:
    """The text of a line that begins with `start`; the stream is at its end afterwards.

    Raises:
        DataError: too long, or not UTF-8.
    """
    end = start
    while len(end) == MAX_LINE_BYTES and not end.endswith(b"\n"):
        end = stream.readline(MAX_LINE_BYTES)
    if end is not start:
        raise DataError(f"a line may have {MAX_LINE_BYTES} bytes")
    try:
        return start.decode("utf-8").strip().lstrip("\ufeff")
    except UnicodeDecodeError as error:
        raise DataError(f"is not UTF-8 text ({error.reason})") from error


def parse_image_line(text: str) -> tuple[str, int, int]:
    """Image path, width and height of a line `# <path> <width> <height>`.

    Raises:
        DataError: says which rule the line breaks (without file and line).
    """
    parts = text[1:].strip().rsplit(maxsplit=2)
    if len(parts) != 3 or not all(_is_side(part) for part in parts[1:]):
        raise DataError(
            f"an image line is `# path width height` with sides of 1 to {MAX_IMAGE_SIDE}, "
            f"got {_short(text)} (`scrfd-nas data import-retinaface` converts lines without sizes)"
        )
    return safe_name(parts[0]), int(parts[1]), int(parts[2])


def safe_name(name: str) -> str:
    """`name`, if it is a relative path that stays below its folder.

    Raises:
        DataError: absolute, empty, holds `..` or a NUL.
    """
    parts = PurePosixPath(name)
    if not parts.name or parts.is_absolute() or ".." in parts.parts or "\0" in name:
        raise DataError(f"an image path must be relative and without `..`, got {_short(name)}")
    return name


def _is_side(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) < 9 and 1 <= int(text) <= MAX_IMAGE_SIDE


def _short(text: str, limit: int = 80) -> str:
    """A hostile line must not fill the screen."""
    return repr(text if len(text) <= limit else text[:limit] + "...")


def _face_row(
    text: str, file: str, line: int, report: Callable[[Fault], None]
) -> list[float] | None:
    """The numbers of a face line, or None after reporting its fault."""
    try:
        return parse_face_line(text)
    except DataError as error:
        report(Fault(file=file, line=line, message=str(error)))
        return None


def parse_face_line(text: str) -> list[float]:
    """The 4, 5 or 19 numbers of a face line.

    Raises:
        DataError: says which rule the line breaks (without file and line).
    """
    words = text.split()
    if len(words) not in NUMBERS_A_LINE:
        raise DataError(f"a face has 4, 5 or 19 numbers, got {len(words)}: {_short(text)}")
    try:
        values = [float(word) for word in words]
    except ValueError:
        raise DataError(f"a face line holds numbers only, got {_short(text)}") from None
    # `not <=` also catches NaN, which compares false
    if any(not abs(value) <= MAX_COORDINATE or math.isnan(value) for value in values):
        raise DataError(f"numbers must lie within +-{MAX_COORDINATE:.0f}, got {_short(text)}")
    if len(values) == 5 and values[4] not in (0, 1):
        raise DataError(f"the ignore flag (fifth of five numbers) is 0 or 1, got {values[4]:g}")
    for x, y, flag in zip(values[4::3], values[5::3], values[6::3], strict=False):
        if flag < 0 and not x == y == flag == -1:
            rule = "a key point's flag is 0 (visible) or 1 (occluded), or all three numbers are -1"
            raise DataError(f"{rule}; got {x:g} {y:g} {flag:g}")
    return values


def _record(
    header: tuple[int, str, int, int], image_root: Path, rows: list[list[float]], lines: list[int]
) -> LabelRecord:
    line, name, width, height = header
    image = AnnotatedImage(
        name=name, path=image_root / name, width=width, height=height, faces=_faces(rows)
    )
    return LabelRecord(image=image, line=line, face_lines=tuple(lines))


def _faces(rows: list[list[float]]) -> Faces:
    """Faces of parsed lines."""
    faces = Faces.of_boxes([row[:4] for row in rows])
    for index, row in enumerate(rows):
        if len(row) == 5:
            faces.ignored_N[index] = row[4] == 1
        elif len(row) > 5:
            faces.keypoints_N53[index] = np.reshape(row[4:], (NUM_KEYPOINTS, 3))
    return faces


def write_labelv2(path: str | os.PathLike[str], images: Iterable[AnnotatedImage]) -> None:
    """Write a label file (whole or not at all); reading it gives the same numbers.

    An ignored face has five numbers, so its key points are not kept. Every other face has
    19, because the training of SCRFD itself refuses lines of 4.
    """
    lines: list[str] = []
    for image in images:
        lines.append(f"# {safe_name(image.name)} {image.width} {image.height}")
        faces = image.faces
        for box, points, ignored in zip(
            faces.boxes_N4, faces.keypoints_N53, faces.ignored_N, strict=True
        ):
            words = [_number(value) for value in box]
            words += ["1"] if ignored else [_number(value) for value in points.ravel()]
            lines.append(" ".join(words))
    write_text(path, "".join(f"{line}\n" for line in lines))


def _number(value: np.float32) -> str:
    """Shortest decimal text that reads back as the same float32."""
    return np.format_float_positional(value, trim="-")


def trainable(faces: Faces) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
    """Which faces count in training (N): neither ignored nor without area."""
    sides_N2 = faces.boxes_N4[:, 2:] - faces.boxes_N4[:, :2]
    return np.asarray(~faces.ignored_N & (sides_N2 > 0).all(axis=1))
