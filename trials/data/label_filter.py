"""The images of a label file that can be trained on, and what had to be left out.

A data set of many thousand images may have a few faulty lines. An image with a line that
cannot be read is left out: the face that it stood for would be trained as background. A face
that lies beside its image is left out alone, since nobody can see it.
"""

import os
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from trials.data.labels import AnnotatedImage, Fault, LabelRecord, scan_labelv2


@dataclass(frozen=True, kw_only=True)
class SoundLabels:
    """What a label file has to offer.

    Attributes:
        images: without a faulty line, in the order of the file.
        broken: for each image with a fault the first one, naming file and line.
        listed: images in the file, those left out included.
    """

    images: tuple[AnnotatedImage, ...]
    broken: tuple[str, ...]
    listed: int


def read_sound_labels(path: str | os.PathLike[str], image_root: Path) -> SoundLabels:
    """Read a label file and leave out what is faulty.

    Args:
        path: the label file.
        image_root: folder that the image paths are relative to.

    Raises:
        DataError: the file cannot be opened.
    """
    file, images, broken, listed = str(path), [], [], 0
    for record, faults in _with_faults(file, image_root):
        before, inside = _split(faults, record)
        broken += [str(fault) for fault in (*before, *inside[:1])]
        listed += len(before) + (record is not None)
        if record is None or inside:
            continue
        image, hidden = _without_hidden(record, file)
        images.append(image)
        broken += [str(fault) for fault in hidden[:1]]
    return SoundLabels(images=tuple(images), broken=tuple(broken), listed=listed)


def _with_faults(file: str, root: Path) -> Iterator[tuple[LabelRecord | None, list[Fault]]]:
    """Every image with the faults of its lines and of those before it; None at the end."""
    faults: list[Fault] = []
    for record in scan_labelv2(file, root, faults.append):
        yield record, faults.copy()
        faults.clear()
    if faults:
        yield None, faults


def _split(faults: list[Fault], record: LabelRecord | None) -> tuple[list[Fault], list[Fault]]:
    """The faults of image lines before `record`, and those of its own lines."""
    if record is None:
        return faults, []
    before = [fault for fault in faults if fault.line < record.line]
    return before, faults[len(before) :]


def _without_hidden(record: LabelRecord, file: str) -> tuple[AnnotatedImage, list[Fault]]:
    """The image without the faces that lie beside it, each of which is a fault."""
    image = record.image
    hidden_N = beside(image.faces.boxes_N4, image.width, image.height)
    if not hidden_N.any():
        return image, []
    size = f"{image.width} x {image.height}"
    faults = [
        Fault(file=file, line=line, message=f"the face lies beside its image of {size} pixels")
        for line, is_hidden in zip(record.face_lines, hidden_N, strict=True)
        if is_hidden
    ]
    return replace(image, faces=image.faces.select(~hidden_N)), faults


def beside(boxes_N4: npt.NDArray[np.float32], width: int, height: int) -> npt.NDArray[np.bool_]:
    """Which boxes (x1, y1, x2, y2) have no point in common with their image (N)."""
    x1, y1, x2, y2 = boxes_N4.T
    return np.asarray((x2 < 0) | (y2 < 0) | (x1 > width) | (y1 > height))
