"""Annotated images of one split of a data set on disk."""

import logging
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from search_spaces.errors import ConfigError, DataError
from search_spaces.files import visible_files
from trials.data.holdout import is_held_out
from trials.data.label_filter import FilteredLabels, read_filtered_labels
from trials.data.labels import LABEL_FILE, AnnotatedImage, trainable

SPLITS = ("train", "val")
MAX_BROKEN = 10
MAX_BROKEN_SHARE = 0.01

log = logging.getLogger(__name__)


class FaceDataset:
    """Annotated images of one split: `root/split/labelv2.txt` and `root/split/images/`.

    Attributes:
        images: images of the label file, in its order.
    """

    def __init__(
        self,
        root: str | os.PathLike[str],
        split: str,
        *,
        faceless: bool = True,
        held_out: float = 0.0,
    ) -> None:
        """Read the labels; no image is opened.

        Images with a faulty line, and faces outside of their image, are left out and logged.

        Args:
            root: the data folder.
            split: `train` or `val`.
            faceless: keep images without a face that counts. The reference trains without
                them and evaluates with them.
            held_out: share of the images that is left out (see `trials.data.holdout`).

        Raises:
            ConfigError: another split.
            DataError: no such folder, too many faults in the label file, or no image left.
        """
        if split not in SPLITS:
            raise ConfigError(f"split must be one of {', '.join(SPLITS)}, got {split!r}")
        folder = Path(root) / split
        path = folder / LABEL_FILE
        if not path.is_file():
            raise DataError(
                f"{path}: there is no such label file; a data folder holds "
                "train/labelv2.txt, train/images/, val/labelv2.txt and val/images/"
            )
        labels = read_filtered_labels(path, folder / "images")
        _log_faults(labels)
        images = [image for image in labels.images if not is_held_out(image.name, held_out)]
        if not faceless:
            images = [image for image in images if trainable(image.faces).any()]
        if not images:
            kind = "image" if faceless else "image with a face that counts"
            raise DataError(f"{path}: there is no {kind}")
        self.images: Sequence[AnnotatedImage] = tuple(images)

    def __len__(self) -> int:
        return len(self.images)


@dataclass(frozen=True, kw_only=True)
class LeftOut:
    """Labelled images that training leaves out; as text a line, empty if there are none.

    Attributes:
        listed: number of images in the label file.
        faulty: for each image with faulty labels the file, the line and the fault.
        faceless: names of the images without a face that counts.
    """

    listed: int
    faulty: tuple[str, ...]
    faceless: tuple[str, ...]

    def __str__(self) -> str:
        faulty, faceless = len(self.faulty), len(self.faceless)
        if not faulty + faceless:
            return ""
        share = f"{100 * (faulty + faceless) / self.listed:.1f} %"
        return (
            f"training leaves out {faulty + faceless} of {self.listed} images ({share}): {faulty} "
            f"with faulty labels, {faceless} without a face that counts"
        )


def left_out(labels: FilteredLabels, held_out: float = 0.0) -> LeftOut:
    """Return the images of the labels of `train` that training leaves out.

    Args:
        labels: of the training split.
        held_out: share of the images that is held out, which do not count as left out.
    """
    kept = [image for image in labels.images if not is_held_out(image.name, held_out)]
    faceless = tuple(image.name for image in kept if not trainable(image.faces).any())
    return LeftOut(listed=labels.listed, faulty=labels.left_out, faceless=faceless)


def describe_left_out(root: str | os.PathLike[str], held_out: float = 0.0) -> str:
    """Return the text of `left_out` for a data folder.

    Raises:
        DataError: the label file cannot be opened.
    """
    folder = Path(root) / "train"
    return str(left_out(read_filtered_labels(folder / LABEL_FILE, folder / "images"), held_out))


def count_images(root: str | os.PathLike[str], held_out: float = 0.0) -> tuple[int, int]:
    """Return how many images an epoch trains on and an evaluation measures, faulty ones included.

    Labels are counted, not parsed; without a label file the images of the validation are.

    Args:
        root: the data folder.
        held_out: share of the training images that is held out and evaluated on.
    """
    training = _count_listed(Path(root) / "train" / LABEL_FILE)
    if held_out:
        validation = round(held_out * training)
        return training - validation, validation
    labels, images = Path(root) / "val" / LABEL_FILE, Path(root) / "val" / "images"
    if labels.is_file():
        return training, _count_listed(labels)
    return training, sum(1 for _ in visible_files(images))


def _count_listed(labels: Path) -> int:
    with labels.open("rb") as lines:
        return sum(line.startswith(b"#") for line in lines)


def check_broken(broken: Sequence[str], images: int, rule: str = "cannot be read") -> None:
    """Raise DataError if more than 10 and more than 1 % of the images are broken, or all."""
    if len(broken) >= images or len(broken) > max(MAX_BROKEN, MAX_BROKEN_SHARE * images):
        raise DataError(
            f"{len(broken)} of {images} images {rule}, the first: {broken[0]}; "
            "`scrfd-nas data check` lists them all"
        )


def _log_faults(labels: FilteredLabels) -> None:
    """Log every image with faulty labels; raise if they are too many."""
    faults = (*labels.left_out, *labels.outside)
    if not faults:
        return
    check_broken(faults, labels.listed, "have faulty labels")
    for message in faults:
        log.warning("%s; it is left out", message)
