"""Selection of the images of a label file that can be trained on.

A data set of many thousand images may have a few faulty lines. An image with a line that cannot
be read is left out, since its face would be trained as background. A face outside of its image
is left out alone, since it cannot be seen.
"""

import os
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from trials.data.labels import AnnotatedImage, Fault, LabelRecord, scan_labelv2


@dataclass(frozen=True, kw_only=True)
class FilteredLabels:
    """Images of a label file that can be trained on.

    Attributes:
        images: images without a faulty line, in the order of the file.
        faults: for each image with a fault the first one, naming file and line.
        listed: number of images in the file, those left out included.
    """

    images: tuple[AnnotatedImage, ...]
    faults: tuple[str, ...]
    listed: int


def read_filtered_labels(path: str | os.PathLike[str], image_root: Path) -> FilteredLabels:
    """Read a label file and leave out the faulty; image paths are relative to `image_root`.

    Raises:
        DataError: the file cannot be opened.
    """
    images, faults, listed = [], [], 0
    for item in scan_labelv2(path, image_root):
        listed += 1
        if isinstance(item, Fault):
            faults.append(str(item))
            continue
        if item.faults:
            faults.append(str(item.faults[0]))
            continue
        image, fault = _without_outside(item, str(path))
        images.append(image)
        if fault is not None:
            faults.append(str(fault))
    return FilteredLabels(images=tuple(images), faults=tuple(faults), listed=listed)


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
