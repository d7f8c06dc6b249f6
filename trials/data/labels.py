"""Face annotations in memory, and the `labelv2.txt` files that hold them.

A label file has a line `# <image path> <width> <height>` for every image, followed by a line
for every face:

- `x1 y1 x2 y2`: a box;
- `x1 y1 x2 y2 flag`: a box and an ignore flag (1 = takes no part in training);
- `x1 y1 x2 y2` and 5 x (`x y flag`): a box and five key points (left eye, right eye, nose,
  left and right mouth corner as seen in the image), flag 0 visible, 1 occluded; `-1 -1 -1`
  for a key point that is not annotated.

Shapes: N faces, 5 key points, 3 = (x, y, flag).
"""

import math
import os
from array import array
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path, PurePosixPath
from typing import BinaryIO, NamedTuple

import numpy as np
import numpy.typing as npt

from search_spaces.errors import DataError, shown
from search_spaces.files import write_text

LABEL_FILE = "labelv2.txt"
NUM_KEYPOINTS = 5
MAX_IMAGE_SIDE = 65_535  # the most that a JPEG can have
MAX_COORDINATE = 1e6  # float32 still resolves a tenth of a pixel there
MAX_LINE_BYTES = 16_384
MISSING_KEYPOINTS = ((-1, -1, -1), (-1, -1, 0), (0, 0, 0))  # as programs write them
NUMBERS_A_LINE = (4, 5, 4 + 3 * NUM_KEYPOINTS)
_NO_KEYPOINTS = (-1.0,) * 3 * NUM_KEYPOINTS

FloatArray = npt.NDArray[np.float32]
BoolArray = npt.NDArray[np.bool_]


@dataclass(frozen=True, kw_only=True, eq=False)
class Faces:
    """Annotated faces of one image, possibly none.

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
        """Mask (N, 5) of annotated key points, those that are not (-1, -1, -1)."""
        return np.asarray((self.keypoints_N53 != -1).any(axis=2))

    def select(self, chosen: npt.NDArray[np.bool_] | npt.NDArray[np.int64]) -> "Faces":
        """Return the faces that a mask or an index array chooses."""
        return Faces(
            boxes_N4=self.boxes_N4[chosen],
            keypoints_N53=self.keypoints_N53[chosen],
            ignored_N=self.ignored_N[chosen],
        )

    @staticmethod
    def of_boxes(boxes_N4: npt.ArrayLike) -> "Faces":
        """Return faces of boxes (N, 4) without key points, none of them ignored."""
        boxes = np.asarray(boxes_N4, np.float32).reshape(-1, 4)
        return Faces(
            boxes_N4=boxes,
            keypoints_N53=np.full((len(boxes), NUM_KEYPOINTS, 3), -1, np.float32),
            ignored_N=np.zeros(len(boxes), np.bool_),
        )


def _require_array(name: str, value: object, shape: tuple[int, ...], dtype: type) -> None:
    """Raise DataError unless `value` is an array of that shape and type."""
    if not isinstance(value, np.ndarray) or value.shape != shape or value.dtype != dtype:
        found = f"{getattr(value, 'dtype', type(value).__name__)}{getattr(value, 'shape', '')}"
        raise DataError(f"{name} must be {np.dtype(dtype).name}{shape}, got {found}")


@dataclass(frozen=True, kw_only=True, eq=False)
class AnnotatedImage:
    """One image of a label file.

    Attributes:
        name: path in the label file, relative to the image root, with forward slashes.
        path: path of the image file.
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
    """A fault of a data set: file, line (from 1; 0 is the whole file) and message."""

    file: str
    line: int
    message: str

    def __str__(self) -> str:
        place = f"{self.file}:{self.line}" if self.line else self.file
        return f"{place}: {self.message}"


@dataclass(frozen=True, kw_only=True, eq=False)
class LabelRecord:
    """An image of a label file with its lines.

    Attributes:
        image: the image with the faces of its valid lines.
        line: line of the image.
        face_lines: line of each face.
        faults: faults of the other lines, in their order.
    """

    image: AnnotatedImage
    line: int
    face_lines: tuple[int, ...]
    faults: tuple[Fault, ...]


class Line(NamedTuple):
    """A line of a text file. One with an error has the text `#` or none."""

    number: int
    text: str
    error: str


def read_labelv2(path: str | os.PathLike[str], image_root: Path) -> list[AnnotatedImage]:
    """Read a label file whose image paths are relative to `image_root`; a fault is an error.

    Raises:
        DataError: names the file, the line and the rule broken.
    """
    images = []
    for item in scan_labelv2(path, image_root):
        faults = (item,) if isinstance(item, Fault) else item.faults
        if faults:
            raise DataError(str(faults[0]))
        images.append(item.image)  # type: ignore[union-attr]
    return images


def scan_labelv2(path: str | os.PathLike[str], image_root: Path) -> Iterator[LabelRecord | Fault]:
    """Yield the images of a label file, and a fault for each image line that is faulty.

    Face lines that follow a faulty image line, or come before any, are left out. The existence
    of the images is not checked.

    Raises:
        DataError: the file cannot be opened.
    """
    images = 0

    def image_of(line: Line) -> int:
        nonlocal images
        images += line.text.startswith("#")
        return images

    for _, lines in groupby(text_lines(path), image_of):
        yield _record(lines, str(path), image_root)


def _record(lines: Iterator[Line], file: str, image_root: Path) -> LabelRecord | Fault:
    """Parse an image line and the face lines after it."""
    first = next(lines)
    try:
        name, width, height = _parse_image_line(first)
    except DataError as error:
        return Fault(file=file, line=first.number, message=str(error))
    numbers, faults = list[int](), list[Fault]()

    def rows() -> Iterator[list[float]]:
        for line in lines:
            try:
                yield _parse_face_line(line)
                numbers.append(line.number)
            except DataError as error:
                faults.append(Fault(file=file, line=line.number, message=str(error)))

    image = AnnotatedImage(
        name=name, path=image_root / name, width=width, height=height, faces=faces_of_rows(rows())
    )
    return LabelRecord(
        image=image, line=first.number, face_lines=tuple(numbers), faults=tuple(faults)
    )


def text_lines(path: str | os.PathLike[str]) -> Iterator[Line]:
    """Yield the lines of a text file that are not blank, without surrounding white space.

    Lines that are not UTF-8 or far too long have an error instead of a text.

    Raises:
        DataError: the file cannot be opened.
    """
    number = 0
    try:
        with Path(path).open("rb") as stream:
            while raw := stream.readline(MAX_LINE_BYTES):
                number += 1
                mark = "#" if raw.lstrip().startswith(b"#") else ""
                if _skip_rest(raw, stream):
                    yield Line(number, mark, f"a line may have {MAX_LINE_BYTES} bytes")
                    continue
                try:
                    text = raw.decode("utf-8").strip().lstrip("\ufeff")
                except UnicodeDecodeError as error:
                    yield Line(number, mark, f"is not UTF-8 text ({error.reason})")
                    continue
                if text:
                    yield Line(number, text, "")
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror or error})") from error


def _skip_rest(start: bytes, stream: BinaryIO) -> bool:
    """Read to the end of the line that begins with `start`; return whether there was more."""
    end = start
    while len(end) == MAX_LINE_BYTES and not end.endswith(b"\n"):
        end = stream.readline(MAX_LINE_BYTES)
    return end is not start


def _parse_image_line(line: Line) -> tuple[str, int, int]:
    """Return image path, width and height of a line `# <path> <width> <height>`.

    Raises:
        DataError: says which rule the line breaks (without file and line).
    """
    if line.error:
        raise DataError(line.error)
    if not line.text.startswith("#"):
        raise DataError("face before any image line")
    parts = line.text[1:].strip().rsplit(maxsplit=2)
    if len(parts) != 3 or not all(_is_side(part) for part in parts[1:]):
        raise DataError(
            f"an image line is `# path width height` with sides of 1 to {MAX_IMAGE_SIDE}, "
            f"got {shown(line.text)} "
            "(`scrfd-nas data import-retinaface` converts lines without sizes)"
        )
    return safe_name(parts[0]), int(parts[1]), int(parts[2])


def safe_name(name: str) -> str:
    """Return `name` if it is a relative path that stays below its folder.

    Raises:
        DataError: the path is absolute or empty, or holds `..` or a NUL; or a label file, one UTF-8
            line for each image, cannot hold it.
    """
    parts = PurePosixPath(name)
    if not parts.name or parts.is_absolute() or ".." in parts.parts or "\0" in name:
        raise DataError(f"an image path must be relative and without `..`, got {shown(name)}")
    is_text = name.encode("utf-8", "replace").decode() == name
    if not is_text or "\n" in name or name != name.strip().lstrip("\ufeff"):
        rule = "an image path must be UTF-8 text, on one line and without white space at its ends"
        raise DataError(f"{rule}, got {shown(name)}; rename the file")
    return name


def _is_side(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) < 9 and 1 <= int(text) <= MAX_IMAGE_SIDE


def _parse_face_line(line: Line) -> list[float]:
    """Return the 4, 5 or 19 numbers of a face line.

    Raises:
        DataError: says which rule the line breaks (without file and line).
    """
    if line.error:
        raise DataError(line.error)
    words = line.text.split()
    if len(words) not in NUMBERS_A_LINE:
        raise DataError(f"a face has 4, 5 or 19 numbers, got {len(words)}: {shown(line.text)}")
    try:
        values = [float(word) for word in words]
    except ValueError:
        raise DataError(f"a face line holds numbers only, got {shown(line.text)}") from None
    if max(map(abs, values)) > MAX_COORDINATE or math.isnan(sum(values)):
        raise DataError(f"numbers must lie within +-{MAX_COORDINATE:.0f}, got {shown(line.text)}")
    if len(values) == 5 and values[4] not in (0, 1):
        raise DataError(f"the ignore flag (fifth of five numbers) is 0 or 1, got {values[4]:g}")
    for at in range(4, len(values) - 2, 3):
        x, y, flag = values[at : at + 3]
        if (x, y, flag) in MISSING_KEYPOINTS:
            values[at : at + 3] = -1.0, -1.0, -1.0
        elif flag < 0:
            rule = "a key point's flag is 0 (visible) or 1 (occluded), or all three numbers are -1"
            raise DataError(f"{rule}; got {x:g} {y:g} {flag:g}")
    return values


def faces_of_rows(rows: Iterable[Sequence[float]]) -> Faces:
    """Return the faces of the numbers of face lines, 4, 5 or 19 of each."""
    numbers = array("f")  # box, ignore flag and key points of each face, as compact as in `Faces`
    for row in rows:
        numbers.extend(row[:4])
        numbers.append(row[4] if len(row) == 5 else 0)
        numbers.extend(row[4:] if len(row) > 5 else _NO_KEYPOINTS)
    numbers_NV = np.array(numbers, np.float32).reshape(-1, 5 + len(_NO_KEYPOINTS))
    return Faces(
        boxes_N4=numbers_NV[:, :4].copy(),
        keypoints_N53=numbers_NV[:, 5:].reshape(-1, NUM_KEYPOINTS, 3),
        ignored_N=numbers_NV[:, 4] == 1,
    )


def write_labelv2(path: str | os.PathLike[str], images: Iterable[AnnotatedImage]) -> None:
    """Write a label file, whole or not at all; reading it gives the same numbers.

    An ignored face has five numbers, so that its key points are not kept. Every other face has
    19, since the training of the reference refuses lines of 4.
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
    """Return the shortest decimal text that reads back as the same float32."""
    return np.format_float_positional(value, trim="-")


def trainable(faces: Faces) -> BoolArray:
    """Return which faces count in training (N): neither ignored nor without area."""
    sides_N2 = faces.boxes_N4[:, 2:] - faces.boxes_N4[:, :2]
    return np.asarray(~faces.ignored_N & (sides_N2 > 0).all(axis=1))
