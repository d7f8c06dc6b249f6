"""Import of annotations in other formats to `labelv2.txt`.

Official WIDER FACE text (`wider_face_train_bbx_gt.txt`, `wider_face_val_bbx_gt.txt`): a line
with the image's path, a line with the number of boxes, and for each box
`x y w h blur expression illumination invalid occlusion pose`. An image with 0 boxes has one
line of zeros all the same.

RetinaFace's `label.txt`: `# <path>`, and for each face `x y w h`, then 5 x (`x y flag`) and a
blur score (the validation file has the four numbers only).

Boxes without width or height are dropped: nothing can be learnt from them. A box that WIDER
marks as invalid becomes an ignored face.
"""

import math
import os
import shutil
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from search_spaces.errors import DataError
from search_spaces.files import replacing
from trials.data.formats.annotation import Annotation
from trials.data.images import read_size, require_size
from trials.data.labels import (
    LABEL_FILE,
    MAX_COORDINATE,
    NUM_KEYPOINTS,
    AnnotatedImage,
    faces_of_rows,
    safe_name,
    text_lines,
    write_labelv2,
)
from trials.data.widerface_mat import FACES_FILE
from trials.result import SUBSETS

WIDER_NUMBERS = 10
WIDER_INVALID = 7  # place of the flag among the ten numbers
RETINAFACE_NUMBERS = (4, 4 + 3 * NUM_KEYPOINTS, 5 + 3 * NUM_KEYPOINTS)
Rows = list[list[float]]  # numbers of face lines as in labelv2.txt

TRUTH_FILES = (FACES_FILE, *(f"wider_{subset}_val.mat" for subset in SUBSETS))


@dataclass(frozen=True, kw_only=True)
class ImportReport:
    """Counts of an import.

    Attributes:
        images: images in the label file.
        faces: faces in the label file, ignored ones included.
        with_keypoints: faces with key points.
        ignored: faces with the ignore flag.
        dropped: boxes without width or height, which are not in the label file.
    """

    images: int
    faces: int
    with_keypoints: int
    ignored: int
    dropped: int


def import_labels(
    form: str,
    annotations: str | os.PathLike[str],
    images: str | os.PathLike[str],
    out: str | os.PathLike[str],
    *,
    copy: bool = False,
    truth: str | os.PathLike[str] | None = None,
) -> ImportReport:
    """Make a split folder from annotations of another format.

    Args:
        form: format of the annotations: `widerface` or `retinaface`.
        annotations: `wider_face_{train,val}_bbx_gt.txt`, or RetinaFace's `label.txt`.
        images: folder that its image paths are relative to.
        out: split folder to fill (`<data>/train` or `<data>/val`); the label file is written
            last.
        copy: copy the images; otherwise `out/images` becomes a link to `images`.
        truth: folder of the four WIDER .mat files, copied to `out/gt`.

    Raises:
        DataError: a line breaks the format, an image is missing or broken, or `out` holds
            other images already.
    """
    listed = [_annotation(*item) for item in READERS[form](Path(annotations))]
    return write_split(listed, Path(images), Path(out), copy=copy, truth=truth)


def write_split(
    annotations: Sequence[Annotation],
    images: Path,
    out: Path,
    *,
    copy: bool = False,
    truth: str | os.PathLike[str] | None = None,
) -> ImportReport:
    """Make a split folder from annotations in memory.

    Args:
        annotations: one for each image.
        images, out, copy, truth: as in `import_labels`.

    Raises:
        DataError: there is no annotation, or two are of one image; an image is missing, broken or
            of another size than annotated; or `out` holds other images already.
    """
    _require_distinct(annotations)
    if not annotations:
        raise DataError(f"{out}: the annotations list no image")
    labelled = [_labelled(annotation, images, out) for annotation in annotations]
    if copy:
        for image in labelled:
            _copy(images / image.name, image.path)
    else:
        _link(images, out / "images")
    if truth is not None:
        for file in TRUTH_FILES:
            _copy(Path(truth) / file, out / "gt" / file)
    write_labelv2(out / LABEL_FILE, labelled)
    return ImportReport(
        images=len(labelled),
        faces=sum(len(image.faces) for image in labelled),
        with_keypoints=sum(int(i.faces.annotated.any(axis=1).sum()) for i in labelled),
        ignored=sum(int(image.faces.ignored_N.sum()) for image in labelled),
        dropped=sum(annotation.dropped for annotation in annotations),
    )


def divide(
    annotations: Sequence[Annotation], val_share: float, seed: int
) -> dict[str, list[Annotation]]:
    """Divide images at random into `train` and `val`, each in the order given.

    Args:
        annotations: one for each image.
        val_share: share of the validation images, above 0 and below 1.
        seed: the same seed gives the same division.

    Raises:
        DataError: the share leaves a split without an image, or two annotations are of one image.
    """
    _require_distinct(annotations)
    count = round(len(annotations) * val_share)
    if not 0 < val_share < 1 or not 0 < count < len(annotations):
        rule = "the share of validation images must leave images in both splits"
        raise DataError(f"{rule}, got {val_share} of {len(annotations)} images")
    chosen = set(np.random.default_rng(seed).permutation(len(annotations))[:count].tolist())
    return {
        "train": [item for n, item in enumerate(annotations) if n not in chosen],
        "val": [item for n, item in enumerate(annotations) if n in chosen],
    }


def _require_distinct(annotations: Sequence[Annotation]) -> None:
    counts = Counter(annotation.name for annotation in annotations)
    twice = next((name for name, count in counts.items() if count > 1), None)
    if twice is not None:
        raise DataError(f"{twice}: is annotated more than once; keep one entry for each image")


def _labelled(annotation: Annotation, images: Path, out: Path) -> AnnotatedImage:
    """Return an annotation with the size of its image, which must be the annotated one."""
    name = safe_name(annotation.name)
    size = read_size(images / name)
    if annotation.size is not None:
        require_size(images / name, annotation.size, size)
    path = out / "images" / name
    return AnnotatedImage(
        name=name, path=path, width=size[0], height=size[1], faces=annotation.faces
    )


def _annotation(name: str, rows: Rows) -> Annotation:
    """Return the faces of numbers as in labelv2.txt; those without area are dropped."""
    kept = [row for row in rows if row[2] > row[0] and row[3] > row[1]]
    return Annotation(name=name, faces=faces_of_rows(kept), dropped=len(rows) - len(kept))


def _read_widerface(path: Path) -> Iterator[tuple[str, Rows]]:
    """Yield name and faces of the images of an official annotation file."""
    lines = _lines(path)
    for number, name in lines:
        name = _name(name, path, number)
        number, count = _next(lines, path, number, f"the number of boxes of {name}")
        if not (count.isascii() and count.isdigit() and len(count) < 7):
            raise DataError(f"{path}:{number}: the number of boxes must follow {name}")
        rows = []
        for _ in range(max(1, int(count))):
            number, text = _next(lines, path, number, f"the boxes of {name}")
            numbers = _numbers(text, (WIDER_NUMBERS,), path, number)
            rows.append([*_corners(numbers), float(numbers[WIDER_INVALID] == 1)])
        yield name, rows[: int(count)]


def _read_retinaface(path: Path) -> Iterator[tuple[str, Rows]]:
    """Yield name and faces of the images of a RetinaFace label file."""
    name, rows = "", Rows()
    for number, text in _lines(path):
        if text.startswith("#"):
            if name:
                yield name, rows
            name, rows = _name(text[1:].strip(), path, number), []
        elif name:
            numbers = _numbers(text, RETINAFACE_NUMBERS, path, number)
            triples = np.reshape(numbers[4 : 4 + 3 * NUM_KEYPOINTS], (-1, 3))
            triples[triples[:, 2] < 0] = -1  # not annotated, whatever its x and y
            rows.append([*_corners(numbers), *triples.ravel().tolist()])
        else:
            raise DataError(f"{path}:{number}: face before any image line (`# path`)")
    if name:
        yield name, rows


READERS = {"widerface": _read_widerface, "retinaface": _read_retinaface}


def _corners(numbers: Sequence[float]) -> list[float]:
    """Return x1, y1, x2, y2 of a face line that begins with x, y, width, height."""
    x, y, width, height = numbers[:4]
    return [x, y, x + width, y + height]


def _lines(path: Path) -> Iterator[tuple[int, str]]:
    """Yield number and text of every line; raise DataError at one that cannot be read."""
    for number, text, error in text_lines(path):
        if error:
            raise DataError(f"{path}:{number}: {error}")
        yield number, text


def _name(text: str, path: Path, line: int) -> str:
    try:
        return safe_name(text)
    except DataError as error:
        raise DataError(f"{path}:{line}: {error}") from error


def _next(lines: Iterator[tuple[int, str]], path: Path, line: int, wanted: str) -> tuple[int, str]:
    """Return the next line; raise DataError if there is none."""
    following = next(lines, None)
    if following is None:
        raise DataError(f"{path}:{line}: the file ends before {wanted}")
    return following


def _numbers(text: str, counts: Sequence[int], path: Path, line: int) -> list[float]:
    """Return the numbers of a line, which must be as many as one of `counts`."""
    words = text.split()
    try:
        values = [float(word) for word in words]
    except ValueError:
        values = [math.nan]
    if len(values) not in counts or not all(abs(value) <= MAX_COORDINATE for value in values):
        expected = " or ".join(map(str, counts))
        found = f"{text[:80]!r}"
        raise DataError(f"{path}:{line}: a face line has {expected} finite numbers, got {found}")
    return values


def _copy(source: Path, target: Path) -> None:
    """Copy a file whole or not at all."""
    if not source.is_file():
        raise DataError(f"{source}: the file is missing")
    if target.exists() and target.samefile(source):
        return
    with replacing(target) as temporary:
        shutil.copyfile(source, temporary)


def _link(images: Path, link: Path) -> None:
    """Make `link` a link to the folder `images`, unless it is one."""
    if link.exists() and link.samefile(images):
        return
    if link.is_symlink() or link.exists():
        raise DataError(f"{link}: exists and is not {images}; remove it, or name another folder")
    link.parent.mkdir(parents=True, exist_ok=True)
    try:
        link.symlink_to(images.resolve(), target_is_directory=True)
    except OSError as error:
        raise DataError(f"{link}: cannot be made a link ({error}); copy the images") from error
