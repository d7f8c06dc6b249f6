"""Selection of the images of a label file that can be trained on.

A data set of many thousand images may have a few faulty lines. An image with a line that cannot
be read is left out, since its face would be trained as background. A face outside of its image
is left out alone, since it cannot be seen.
"""

import os
from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

import numpy as np
import numpy.typing as npt

from trials.data.labels import AnnotatedImage, Fault, LabelRecord, scan_labelv2


@dataclass(frozen=True, kw_only=True)
class FilteredLabels:
    """Images of a label file that can be trained on.

    Attributes:
        images: images without a faulty line, in the order of the file.
        left_out: for each image with a faulty line the first such line's file, number and fault.
        outside: for each image with faces outside of it the line of the first, likewise.
    """

    images: tuple[AnnotatedImage, ...]
    left_out: tuple[str, ...]
    outside: tuple[str, ...]

    @property
    def listed(self) -> int:
        """Number of images in the file, those left out included."""
        return len(self.images) + len(self.left_out)


def read_filtered_labels(path: str | os.PathLike[str], image_root: Path) -> FilteredLabels:
    """Read a label file and leave out the faulty; image paths are relative to `image_root`.

    The labels read last are kept while their file is unchanged, for the next trial of the process.

    Raises:
        DataError: the file cannot be opened.
    """
    try:
        found = os.stat(path)
    except OSError:
        return filtered_labels(scan_labelv2(path, image_root), str(path))  # raises DataError
    return _read_state(str(path), image_root, (found.st_ino, found.st_size, found.st_mtime_ns))


@lru_cache(maxsize=1)
def _read_state(path: str, image_root: Path, state: tuple[int, ...]) -> FilteredLabels:
    """Read the labels of a file in one `state`."""
    return filtered_labels(scan_labelv2(path, image_root), path)


def filtered_labels(items: Iterable[LabelRecord | Fault], file: str) -> FilteredLabels:
    """Leave out the faulty of the images of a label file, as `scan_labelv2` yields them."""
    images, left_out, outside = list[AnnotatedImage](), list[str](), list[str]()
    for item in items:
        faults = (item,) if isinstance(item, Fault) else item.faults
        if faults:
            left_out.append(str(faults[0]))
            continue
        image, fault = _without_outside(item, file)  # type: ignore[arg-type]
        images.append(image)
        if fault is not None:
            outside.append(str(fault))
    return FilteredLabels(images=tuple(images), left_out=tuple(left_out), outside=tuple(outside))


def _without_outside(record: LabelRecord, file: str) -> tuple[AnnotatedImage, Fault | None]:
    """Return the image without faces outside of it, and the fault of the first of these."""
    image = record.image
    outside_N = _outside(image.faces.boxes_N4, image.width, image.height)
    if not outside_N.any():
        return image, None
    message = f"the face is outside its image of {image.width} x {image.height} pixels"
    fault = Fault(file=file, line=record.face_lines[int(outside_N.argmax())], message=message)
    return replace(image, faces=image.faces.select(~outside_N)), fault


def _outside(boxes_N4: npt.NDArray[np.float32], width: int, height: int) -> npt.NDArray[np.bool_]:
    """Return which boxes (x1, y1, x2, y2) have no point in common with their image (N)."""
    x1, y1, x2, y2 = boxes_N4.T
    return np.asarray((x2 < 0) | (y2 < 0) | (x1 > width) | (y1 > height))
