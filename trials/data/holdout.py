"""Fixed part of the training images that is held out, so that a search can rank on it.

The validation set then stays unseen until the winner is known. The part is chosen image by
image, as WIDER FACE itself splits: its training and validation sets share their 61 events.
Holding out whole events would measure transfer to new scenes, on too few of them.
"""

import hashlib
import os
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from trials.data.ground_truth import Truth, require_faces, to_xywh
from trials.data.labels import LABEL_FILE, AnnotatedImage, read_labelv2

# A face must be higher than this, in pixels of its image, to count as easy, medium, hard. On
# WIDER FACE's validation set the rule agrees with the official lists on 99.8 %, 99.4 % and
# 98.0 % of the 39,708 faces, and it counts no face that they leave out.
SUBSET_HEIGHTS = (50.0, 30.0, 10.0)
HEIGHT_RULE = "easy, medium and hard are faces higher than {:g}, {:g} and {:g} pixels".format(
    *SUBSET_HEIGHTS
)


def is_held_out(name: str, share: float) -> bool:
    """Return whether the image of this name in the label file is held out.

    It depends on nothing else, so that every trial, machine and resumed search holds out the
    same images, and a larger share includes all those of a smaller one.
    """
    digest = hashlib.sha256(name.encode(errors="surrogateescape")).digest()
    return int.from_bytes(digest[:8], "big") < share * 2.0**64


def load_holdout(data_root: str | os.PathLike[str], share: float) -> tuple[Truth, list[Path]]:
    """Return the ground truth of the held-out training images and the path of each.

    Images without faces are included, since a detector can be wrong there too.

    Raises:
        DataError: the labels cannot be read, or no held-out face counts as hard.
    """
    labels = Path(data_root) / "train" / LABEL_FILE
    images = [
        image
        for image in read_labelv2(labels, labels.parent / "images")
        if is_held_out(image.name, share)
    ]
    truth = truth_by_height(images)
    require_faces(truth, f"{labels}: the {len(images)} held-out images")
    return truth, [image.path for image in images]


def truth_by_height(images: Iterable[AnnotatedImage]) -> Truth:
    """Return ground truth from labels, without official lists (see `SUBSET_HEIGHTS`).

    Ignored faces count in no subset: detecting them is neither right nor wrong. Images have the
    names of the label file, with suffixes.

    Raises:
        DataError: an image is listed twice.
    """
    images = list(images)
    boxes_F4 = to_xywh(np.concatenate([np.zeros((0, 4)), *(i.faces.boxes_N4 for i in images)]))
    ignored_F = np.concatenate(
        [np.zeros(0, np.bool_), *(image.faces.ignored_N for image in images)]
    )
    heights_F = np.where(ignored_F | (boxes_F4[:, 2:] <= 0).any(axis=1), 0.0, boxes_F4[:, 3])
    counts = [len(image.faces) for image in images]
    return Truth(
        names=tuple(image.name for image in images),
        boxes_F4=boxes_F4,
        offsets=np.cumsum([0, *counts], dtype=np.int64),
        counted_F3=heights_F[:, None] > np.array(SUBSET_HEIGHTS),
    )
