"""The images that a detector is evaluated on, with their ground truth."""

import os
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from search_spaces.errors import DataError
from trials.data.ground_truth import Truth, require_faces
from trials.data.holdout import HEIGHT_RULE, load_holdout, truth_by_height
from trials.data.labels import LABEL_FILE, read_labelv2
from trials.data.widerface_mat import has_ground_truth, read_ground_truth


class EvaluatedImages(NamedTuple):
    """Ground truth and the path of each of its images, in the same order.

    `by_height` is whether easy, medium and hard follow from the height of the faces.
    """

    truth: Truth
    paths: list[Path]
    by_height: bool = False


def load_evaluated(data_root: str | os.PathLike[str], held_out: float) -> EvaluatedImages:
    """Load the validation images, or the held-out share of the training images if there is one.

    Raises:
        DataError: as `load_validation` and `trials.data.holdout.load_holdout`.
    """
    if held_out:
        return EvaluatedImages(*load_holdout(data_root, held_out), by_height=True)
    return load_validation(data_root)


def subset_rule(data_root: str | os.PathLike[str], held_out: float = 0.0) -> str:
    """Return in a clause which faces count as easy, medium and hard."""
    if held_out or not has_ground_truth(Path(data_root) / "val" / "gt"):
        return HEIGHT_RULE
    return "easy, medium and hard are those of val/gt"


def load_validation(data_root: str | os.PathLike[str], split: str = "val") -> EvaluatedImages:
    """Load the ground truth of a split and find its images.

    `<split>/gt/*.mat` lists the images and the faces that count. The label file
    `<split>/labelv2.txt` gives the paths of the images; without one they are
    `<split>/images/<event>/<name>.jpg`, as in WIDER FACE. Without `gt` the label file is the
    ground truth, and the height of a face decides in which subsets it counts (`HEIGHT_RULE`).

    Raises:
        DataError: a file is missing or malformed; an image of the ground truth is not in the
            label file; no face counts as hard, so that nothing can be measured.
    """
    folder = Path(data_root) / split
    labels = folder / LABEL_FILE
    if not has_ground_truth(folder / "gt"):
        return _load_labelled(labels)
    truth = read_ground_truth(folder / "gt")
    require_faces(truth, str(folder / "gt"))
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


def _load_labelled(labels: Path) -> EvaluatedImages:
    """Load the images of a label file, with subsets by height."""
    if not labels.is_file():
        rule = f"there is neither {labels} nor the ground truth gt/*.mat beside it"
        raise DataError(f"{labels.parent}: {rule}")
    images = read_labelv2(labels, labels.parent / "images")
    truth = truth_by_height(images)
    names = tuple(str(Path(name).with_suffix("")) for name in truth.names)
    require_faces(truth, str(labels))
    return EvaluatedImages(replace(truth, names=names), [i.path for i in images], by_height=True)
