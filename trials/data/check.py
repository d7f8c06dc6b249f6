"""What a data set holds, and everything that is wrong with it."""

import os
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from search_spaces.errors import DataError
from trials.data.dataset import LABEL_FILE, SPLITS
from trials.data.ground_truth import Truth
from trials.data.images import read_image, read_size
from trials.data.labels import AnnotatedImage, Fault, LabelRecord, scan_labelv2
from trials.data.widerface_mat import FACES_FILE, read_ground_truth

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
    """What one split holds.

    Attributes:
        images: in the label file.
        faces: in the label file, faulty lines excepted.
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
    """The result of `check`.

    Attributes:
        splits: `train` and `val`.
        truth: faces of `val/gt` that count as easy, medium, hard; None if it is unreadable.
        faults: everything wrong, in the order of the files.
    """

    splits: dict[str, SplitCounts]
    truth: dict[str, int] | None
    faults: tuple[Fault, ...]

    def as_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return asdict(self) | {"faults": [asdict(fault) for fault in self.faults]}


def check(
    root: str | os.PathLike[str], *, decode: bool = True, progress: Progress | None = None
) -> CheckReport:
    """Look at every file of a data set.

    Args:
        root: folder with `train` and `val`.
        decode: decode every image; otherwise only its first bytes are read.
        progress: called with (images looked at, images in the split).

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
        records = _records(folder / split, faults.append)
        _check_labels(records, folder / split / LABEL_FILE, faults.append)
        _check_images(records, folder / split / LABEL_FILE, decode, faults.append, progress)
        images = [record.image for record in records]
        splits[split] = _count(images)
    truth = _check_truth(folder / "val" / "gt", images, faults.append)
    counts = None if truth is None else truth.face_counts
    return CheckReport(splits=splits, truth=counts, faults=tuple(faults))


Report = Callable[[Fault], None]


def _records(folder: Path, report: Report) -> list[LabelRecord]:
    """The images of a split's label file; its faults are reported."""
    path = folder / LABEL_FILE
    if not path.is_file():
        report(Fault(file=str(path), line=0, message="the label file is missing"))
        return []
    try:
        records = list(scan_labelv2(path, folder / "images", report))
    except DataError as error:
        message = str(error).removeprefix(f"{path}: ")
        report(Fault(file=str(path), line=0, message=message))
        return []
    if not records:
        report(Fault(file=str(path), line=0, message="lists no image"))
    return records


def _check_labels(records: Iterable[LabelRecord], path: Path, report: Report) -> None:
    """Images listed twice, and boxes without area or outside their image."""
    first_line: dict[str, int] = {}
    for record in records:
        image = record.image
        if image.name in first_line:
            message = f"{image.name} is listed already in line {first_line[image.name]}"
            report(Fault(file=str(path), line=record.line, message=message))
        first_line.setdefault(image.name, record.line)
        for line, box in zip(record.face_lines, image.faces.boxes_N4.tolist(), strict=True):
            message = _box_fault(box, image.width, image.height)
            if message:
                report(Fault(file=str(path), line=line, message=message))


def _box_fault(box: Sequence[float], width: int, height: int) -> str:
    """What is wrong with a box, or nothing."""
    x1, y1, x2, y2 = box
    shown = f"({x1:g}, {y1:g}, {x2:g}, {y2:g})"
    if x2 <= x1 or y2 <= y1:
        return f"a box must have x1 < x2 and y1 < y2, got {shown}"
    inside = min(x1, y1) >= -TOLERANCE and x2 <= width + TOLERANCE and y2 <= height + TOLERANCE
    return "" if inside else f"the box {shown} leaves its image of {width} x {height}"


def _check_images(
    records: Sequence[LabelRecord],
    path: Path,
    decode: bool,
    report: Report,
    progress: Progress | None,
) -> None:
    """Missing and broken images, and images of another size than the label file has."""
    pool = ThreadPoolExecutor(os.cpu_count())
    try:
        images = (record.image for record in records)
        messages = pool.map(partial(_image_fault, decode=decode), images)
        for done, (record, message) in enumerate(zip(records, messages, strict=True), 1):
            if message:
                report(Fault(file=str(path), line=record.line, message=message))
            if progress is not None:
                progress(done, len(records))
    finally:
        pool.shutdown(cancel_futures=True)  # Ctrl-C must not wait for thousands of images


def _image_fault(image: AnnotatedImage, *, decode: bool) -> str:
    """What is wrong with an image file, or nothing."""
    try:
        if decode:
            height, width = read_image(image.path).shape[:2]
        else:
            width, height = read_size(image.path)
    except DataError as error:
        return str(error)
    if (width, height) == (image.width, image.height):
        return ""
    labelled = f"{image.width} x {image.height}"
    return f"{image.path} has {width} x {height} pixels, the label file says {labelled}"


def _count(images: Sequence[AnnotatedImage]) -> SplitCounts:
    """Counts of a split."""
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


def _check_truth(folder: Path, images: Sequence[AnnotatedImage], report: Report) -> Truth | None:
    """Ground truth that is missing, broken, or of other images or boxes than the labels."""
    try:
        truth = read_ground_truth(folder)
    except DataError as error:
        message = str(error).removeprefix(f"{folder}{os.sep}")
        report(Fault(file=str(folder), line=0, message=message))
        return None
    path = str(folder / FACES_FILE)
    places = {name: place for place, name in enumerate(truth.names)}
    labelled = {Path(image.name).with_suffix("").as_posix(): image for image in images}
    for name in sorted(labelled.keys() - places.keys()):
        report(Fault(file=path, line=0, message=f"lacks {name}, which the label file lists"))
    for name in sorted(places.keys() - labelled.keys()):
        report(Fault(file=path, line=0, message=f"lists {name}, which the label file lacks"))
    for name, image in labelled.items():
        if name in places:
            message = _truth_fault(image, truth.boxes(places[name]))
            if message:
                report(Fault(file=path, line=0, message=f"{name}: {message}"))
    return truth


def _truth_fault(image: AnnotatedImage, truth_G4: np.ndarray[Any, np.dtype[np.float64]]) -> str:
    """How the boxes of the ground truth differ from the labels', or nothing."""
    if len(truth_G4) != len(image.faces):
        return f"{len(truth_G4)} faces, the label file has {len(image.faces)}"
    corners_G4 = np.concatenate([truth_G4[:, :2], truth_G4[:, :2] + truth_G4[:, 2:]], axis=1)
    apart_G = np.abs(corners_G4 - image.faces.boxes_N4).max(axis=1, initial=0)
    if (apart_G <= TOLERANCE).all():
        return ""
    worst = int(apart_G.argmax())
    return f"face {worst + 1} lies {apart_G[worst]:.1f} pixels from the label file's"
