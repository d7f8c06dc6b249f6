"""The images that a detector is evaluated on, with their ground truth."""

import os
from pathlib import Path
from typing import NamedTuple

from search_spaces.errors import DataError
from trials.data.ground_truth import Truth, require_faces
from trials.data.holdout import load_holdout
from trials.data.labels import read_labelv2
from trials.data.widerface_mat import read_ground_truth


class EvaluatedImages(NamedTuple):
    """Ground truth and the path of each of its images, in the same order."""

    truth: Truth
    paths: list[Path]


def load_evaluated(
    data_root: str | os.PathLike[str], split: str = "val", held_out: float = 0.0
) -> EvaluatedImages:
    """Load the images of a split, or the held-out share of the training images if there is one.

    Raises:
        DataError: as `load_validation` and `trials.data.holdout.load_holdout`.
    """
    if held_out:
        return EvaluatedImages(*load_holdout(data_root, held_out))
    return load_validation(data_root, split)


def load_validation(data_root: str | os.PathLike[str], split: str = "val") -> EvaluatedImages:
    """Load `<data_root>/<split>/gt/*.mat` and find the images that it names.

    The label file `<split>/labelv2.txt` gives the paths of the images. Without one they are
    `<split>/images/<event>/<name>.jpg`, as in WIDER FACE.

    Raises:
        DataError: a file is missing or malformed; an image of the ground truth is not in the
            label file; no face counts as hard, so that nothing can be measured.
    """
    folder = Path(data_root) / split
    truth = read_ground_truth(folder / "gt")
    require_faces(truth, str(folder / "gt"))
    labels = folder / "labelv2.txt"
    if not labels.exists():
        paths = [folder / "images" / f"{name}.jpg" for name in truth.names]
        return EvaluatedImages(truth, paths)
    labelled = {
        image.name.removesuffix(Path(image.name).suffix): image.path
        for image in read_labelv2(labels, folder / "images")
    }
    for name in truth.names:
        if name not in labelled:
            raise DataError(f"{labels}: lacks {name}, which the ground truth beside it has")
    return EvaluatedImages(truth, [labelled[name] for name in truth.names])
