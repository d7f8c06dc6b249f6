"""A face data set on disk, and the samples that training draws from it.

A sample depends on the seed, the epoch and the image's index only, so that any number of
worker processes, and a run continued after an interruption, see the same samples.
"""

import logging
import os
from collections.abc import Sequence
from pathlib import Path

from search_spaces.errors import ConfigError, DataError
from trials.data.holdout import is_held_out
from trials.data.label_filter import SoundLabels, read_sound_labels
from trials.data.labels import AnnotatedImage, trainable

LABEL_FILE = "labelv2.txt"
SPLITS = ("train", "val")
DEFAULT_CACHE_BYTES = 512 << 20
MAX_BROKEN = 10
MAX_BROKEN_SHARE = 0.01
SAMPLE_STREAM, ORDER_STREAM = 1, 2  # numpy seeds [s, e] and [s, e, 0] are the same stream

log = logging.getLogger(__name__)


class FaceDataset:
    """The annotated images of one split: `root/split/labelv2.txt` and `root/split/images/`.

    Attributes:
        root: the data folder.
        split: `train` or `val`.
        images: what the label file lists, in its order.
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

        Args:
            root: the data folder.
            split: `train` or `val`.
            faceless: keep images without a face that counts. The reference trains without
                them and evaluates with them.
            held_out: share of the images that is left out (see `trials.data.holdout`).

        Images with a faulty line, and faces beside their image, are left out and logged.

        Raises:
            DataError: no such folder, too many faults in the label file, or no image left.
        """
        if split not in SPLITS:
            raise ConfigError(f"split must be one of {', '.join(SPLITS)}, got {split!r}")
        self.root, self.split = Path(root), split
        folder = self.root / split
        if not (folder / LABEL_FILE).is_file():
            raise DataError(
                f"{folder / LABEL_FILE}: there is no such label file; a data folder holds "
                "train/labelv2.txt, train/images/, val/labelv2.txt, val/images/ and val/gt/"
            )
        labels = read_sound_labels(folder / LABEL_FILE, folder / "images")
        _note_broken_labels(labels)
        images = [image for image in labels.images if not is_held_out(image.name, held_out)]
        if not faceless:
            images = [image for image in images if trainable(image.faces).any()]
        if not images:
            kind = "image" if faceless else "image with a face that counts"
            raise DataError(f"{folder / LABEL_FILE}: there is no {kind}")
        self.images: Sequence[AnnotatedImage] = tuple(images)

    @property
    def label_file(self) -> Path:
        """Where the labels come from."""
        return self.root / self.split / LABEL_FILE

    def __len__(self) -> int:
        return len(self.images)


def check_broken(broken: Sequence[str], images: int, rule: str = "cannot be read") -> None:
    """Raise if more images than a data set may have are broken.

    Raises:
        DataError: more than 10 and more than 1 %, or all of them.
    """
    if len(broken) >= images or len(broken) > max(MAX_BROKEN, MAX_BROKEN_SHARE * images):
        raise DataError(
            f"{len(broken)} of {images} images {rule}, the first: {broken[0]}; "
            "`scrfd-nas data check` lists them all"
        )


def _note_broken_labels(labels: SoundLabels) -> None:
    """Log every image with faulty labels; raise if they are too many."""
    if not labels.broken:
        return
    check_broken(labels.broken, labels.listed, "have faulty labels")
    for message in labels.broken:
        log.warning("%s; it is left out", message)
