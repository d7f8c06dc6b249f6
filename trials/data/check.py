"""Check of a data set: what it holds, and every fault in it."""

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from search_spaces.errors import DataError
from trials.data.dataset import SPLITS, LeftOut, left_out
from trials.data.holdout import truth_by_height
from trials.data.images import read_image, read_size, require_size
from trials.data.label_filter import filtered_labels
from trials.data.labels import (
    LABEL_FILE,
    AnnotatedImage,
    BoolArray,
    Faces,
    Fault,
    LabelRecord,
    scan_labelv2,
)
from trials.data.widerface_mat import FACES_FILE, has_ground_truth, read_ground_truth

SIZE_EDGES = (8, 16, 32, 64, 128)
SIZE_BINS = (
    f"<{SIZE_EDGES[0]}",
    *(f"{low}-{high}" for low, high in pairwise(SIZE_EDGES)),
    f">={SIZE_EDGES[-1]}",
)
TOLERANCE = 1.0  # pixels: annotations are whole pixels, a border may be counted in or out

Progress = Callable[[int, int], None]


@dataclass(frozen=True, kw_only=True)
class SplitCounts:
    """Counts of one split.

    Attributes:
        images: images in the label file.
        faces: faces in the label file, without faulty lines.
        with_keypoints: faces with at least one annotated key point.
        ignored: faces with the ignore flag.
        without_faces: images without a face.
        heights: faces by height in pixels; the keys are `SIZE_BINS`.
    """

    images: int
    faces: int
    with_keypoints: int
    ignored: int
    without_faces: int
    heights: dict[str, int]


@dataclass(frozen=True, kw_only=True)
class CheckReport:
    """Result of `check`.

    Attributes:
        splits: counts of `train` and `val`.
        truth: validation faces that count as easy, medium, hard; None if the truth is unreadable.
        left_out: training images that training leaves out for their labels.
        faults: all faults, in the order of the files.
    """

    splits: dict[str, SplitCounts]
    truth: dict[str, int] | None
    left_out: LeftOut
    faults: tuple[Fault, ...]

    def as_dict(self) -> dict[str, Any]:
        """Return plain data for JSON."""
        return asdict(self) | {"faults": [asdict(fault) for fault in self.faults]}


def check(
    root: str | os.PathLike[str], *, decode: bool = True, progress: Progress | None = None
) -> CheckReport:
    """Check every file of a data set.

    Args:
        root: folder with `train` and `val`.
        decode: decode every image; otherwise only its header is read.
        progress: called with (images checked, images in the split).

    Raises:
        DataError: `root` is not a folder. All other faults are in the report.
    """
    folder = Path(root)
    if not folder.is_dir():
        raise DataError(f"{folder}: there is no such data folder")
    faults: list[Fault] = []
    splits: dict[str, SplitCounts] = {}
    images: list[AnnotatedImage] = []
    for split in SPLITS:
        path = folder / split / LABEL_FILE
        items, found = _read_labels(path)
        records = [item for item in items if isinstance(item, LabelRecord)]
        if split == "train":
            unused = left_out(filtered_labels(items, str(path)))
        faults += found
        faults += _label_faults(records, path)
        faults += _image_faults(records, path, decode, progress)
        images = [record.image for record in records]
        splits[split] = _count(images)
    counts, found = _check_truth(folder / "val" / "gt", images)
    return CheckReport(splits=splits, truth=counts, left_out=unused, faults=(*faults, *found))


def _read_labels(path: Path) -> tuple[list[LabelRecord | Fault], list[Fault]]:
    """Return the content of a label file, and the faults of the file and of its lines."""
    if not path.is_file():
        return [], [_fault(path, "the label file is missing")]
    try:
        items = list(scan_labelv2(path, path.parent / "images"))
    except DataError as error:
        return [], [_fault(path, str(error).removeprefix(f"{path}: "))]
    faults = [f for item in items for f in ([item] if isinstance(item, Fault) else item.faults)]
    if not any(isinstance(item, LabelRecord) for item in items):
        faults.append(_fault(path, "lists no image"))
    return items, faults


def _fault(path: Path, message: str, line: int = 0) -> Fault:
    return Fault(file=str(path), line=line, message=message)


def _label_faults(records: Sequence[LabelRecord], path: Path) -> Iterator[Fault]:
    """Yield images listed twice, faulty boxes, and key points that are far from their box."""
    first_line: dict[str, int] = {}
    for record in records:
        image = record.image
        if image.name in first_line:
            message = f"{image.name} is listed already in line {first_line[image.name]}"
            yield _fault(path, message, record.line)
        first_line.setdefault(image.name, record.line)
        boxes = image.faces.boxes_N4.tolist()
        far_N = _has_far_keypoint(image.faces).tolist()
        for line, box, is_far in zip(record.face_lines, boxes, far_N, strict=True):
            if message := _box_fault(box, image.width, image.height):
                yield _fault(path, message, line)
            elif is_far:
                yield _fault(
                    path, f"a key point is more than a box's size from {_shown(box)}", line
                )


def _box_fault(box: Sequence[float], width: int, height: int) -> str:
    """Return the fault of a box, or an empty string."""
    x1, y1, x2, y2 = box
    if x2 <= x1 or y2 <= y1:
        return f"a box must have x1 < x2 and y1 < y2, got {_shown(box)}"
    inside = min(x1, y1) >= -TOLERANCE and x2 <= width + TOLERANCE and y2 <= height + TOLERANCE
    return "" if inside else f"the box {_shown(box)} leaves its image of {width} x {height}"


def _shown(box: Sequence[float]) -> str:
    return f"({', '.join(f'{value:g}' for value in box)})"


def _has_far_keypoint(faces: Faces) -> BoolArray:
    """Return which faces have a key point outside of their box enlarged threefold (N)."""
    low_N12, high_N12 = faces.boxes_N4[:, None, :2], faces.boxes_N4[:, None, 2:]
    points_N52, size_N12 = faces.keypoints_N53[..., :2], high_N12 - low_N12
    far_N52 = (points_N52 < low_N12 - size_N12) | (points_N52 > high_N12 + size_N12)
    return np.asarray((far_N52.any(axis=2) & faces.annotated).any(axis=1))


def _image_faults(
    records: Sequence[LabelRecord], path: Path, decode: bool, progress: Progress | None
) -> Iterator[Fault]:
    """Yield missing and broken images, and images of another size than the label file has."""
    pool = ThreadPoolExecutor(os.cpu_count())
    try:
        images = (record.image for record in records)
        messages = pool.map(partial(_image_fault, decode=decode), images)
        for done, (record, message) in enumerate(zip(records, messages, strict=True), 1):
            if message:
                yield _fault(path, message, record.line)
            if progress is not None:
                progress(done, len(records))
    finally:
        pool.shutdown(cancel_futures=True)  # Ctrl-C must not wait for thousands of images


def _image_fault(image: AnnotatedImage, *, decode: bool) -> str:
    """Return the fault of an image file, or an empty string."""
    try:
        size = read_image(image.path).shape[1::-1] if decode else read_size(image.path)
        require_size(image.path, (image.width, image.height), size)
    except DataError as error:
        return str(error)
    return ""


def _count(images: Sequence[AnnotatedImage]) -> SplitCounts:
    """Return the counts of a split."""
    boxes_F4 = np.concatenate([np.zeros((0, 4)), *(image.faces.boxes_N4 for image in images)])
    bins = np.digitize(boxes_F4[:, 3] - boxes_F4[:, 1], SIZE_EDGES)
    heights = np.bincount(bins, minlength=len(SIZE_BINS)).tolist()
    return SplitCounts(
        images=len(images),
        faces=len(boxes_F4),
        with_keypoints=sum(int(i.faces.annotated.any(axis=1).sum()) for i in images),
        ignored=sum(int(image.faces.ignored_N.sum()) for image in images),
        without_faces=sum(not len(image.faces) for image in images),
        heights=dict(zip(SIZE_BINS, heights, strict=True)),
    )


def _labelled_counts(images: Sequence[AnnotatedImage]) -> dict[str, int] | None:
    try:
        return truth_by_height(images).face_counts
    except DataError:  # an image is listed twice, which is a fault of its own
        return None


def _check_truth(
    folder: Path, images: Sequence[AnnotatedImage]
) -> tuple[dict[str, int] | None, list[Fault]]:
    """Return the faces that count in the ground truth, and its differences from the labels.

    Without official lists the truth follows from the labels.
    """
    if not has_ground_truth(folder):
        return _labelled_counts(images), []
    try:
        truth = read_ground_truth(folder)
    except DataError as error:
        return None, [_fault(folder, str(error).removeprefix(f"{folder}{os.sep}"))]
    places = {name: place for place, name in enumerate(truth.names)}
    labelled = {Path(image.name).with_suffix("").as_posix(): image for image in images}
    lacking, unknown = labelled.keys() - places.keys(), places.keys() - labelled.keys()
    messages = [f"lacks {name}, which the label file lists" for name in sorted(lacking)]
    messages += [f"lists {name}, which the label file lacks" for name in sorted(unknown)]
    for name, image in labelled.items():
        if name in places and (message := _truth_fault(image, truth.boxes(places[name]))):
            messages.append(f"{name}: {message}")
    return truth.face_counts, [_fault(folder / FACES_FILE, message) for message in messages]


def _truth_fault(image: AnnotatedImage, truth_G4: NDArray[np.float64]) -> str:
    """Return how the ground truth's boxes (xywh) differ from the labels, or an empty string."""
    if len(truth_G4) != len(image.faces):
        return f"{len(truth_G4)} faces, the label file has {len(image.faces)}"
    corners_G4 = np.concatenate([truth_G4[:, :2], truth_G4[:, :2] + truth_G4[:, 2:]], axis=1)
    apart_G = np.abs(corners_G4 - image.faces.boxes_N4).max(axis=1, initial=0)
    if (apart_G <= TOLERANCE).all():
        return ""
    worst = int(apart_G.argmax())
    return f"face {worst + 1} is {apart_G[worst]:.1f} pixels off the label file's"
