"""A face data set on disk, and the samples that training draws from it.

A sample depends on the seed, the epoch and the image's index only, so that any number of
worker processes, and a run continued after an interruption, see the same samples.
"""

import logging
import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from torch.utils.data import Dataset

from search_spaces.errors import ConfigError, DataError
from trials.data.augment import Augmentation
from trials.data.cache import ImageCache
from trials.data.holdout import is_held_out
from trials.data.images import Image, read_image
from trials.data.labels import AnnotatedImage
from trials.data.samples import Sample, draw_sample, trainable
from trials.data.sound_labels import SoundLabels, read_sound_labels

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


class TrainingSet(Dataset[Sample]):
    """Training samples of a data set, addressed by (epoch, index).

    Decoded images are kept in memory up to `cache_bytes` (in each process that draws
    samples); beyond that, images are decoded each time. First come, first kept: within an
    epoch every image is used once, so throwing one out for another would gain nothing.
    With a `cache` of files, which other trials use too, nothing is kept besides.
    """

    def __init__(
        self,
        dataset: FaceDataset,
        *,
        image_size: int,
        seed: int,
        augmentation: Augmentation | None = None,
        cache_bytes: int = DEFAULT_CACHE_BYTES,
        cache: ImageCache | None = None,
    ) -> None:
        if image_size < 1 or seed < 0 or cache_bytes < 0:
            found = f"(image_size={image_size}, seed={seed}, cache_bytes={cache_bytes})"
            rule = "image_size must be at least 1, seed and cache_bytes at least 0"
            raise ConfigError(f"{rule}, got {found}")
        self.dataset = dataset
        self.image_size = image_size
        self.seed = seed
        self.augmentation = augmentation or Augmentation()
        self.cache_bytes = cache_bytes
        self.cache = cache
        self._cache: dict[int, Image] = {}
        self._cached_bytes = 0

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, key: tuple[int, int]) -> Sample:
        epoch, index = key
        return self.sample(index, epoch)

    def sample(self, index: int, epoch: int) -> Sample:
        """The sample of image `index` in `epoch`.

        An unreadable image is replaced by the next one in the label file.

        Raises:
            DataError: more unreadable images in a row than a data set may have.
        """
        broken: list[str] = []
        rng = np.random.default_rng([self.seed, epoch, index, SAMPLE_STREAM])
        while True:
            at = (index + len(broken)) % len(self)
            try:
                pixels = self._pixels(at)
                break
            except DataError as error:
                broken.append(str(error))
                check_broken(broken, len(self))
        faces = self.dataset.images[at].faces
        drawn = draw_sample(pixels, faces, self.image_size, self.augmentation, rng)
        return replace(drawn, broken=tuple(broken))

    def _pixels(self, index: int) -> Image:
        """The decoded image, from memory or the file cache if it is there."""
        if self.cache is not None:
            return self._shared_pixels(self.cache, index)
        kept = self._cache.get(index)
        if kept is not None:
            return kept
        pixels = self._read(index)
        if self._cached_bytes + pixels.nbytes <= self.cache_bytes:
            self._cache[index] = pixels
            self._cached_bytes += pixels.nbytes
        return pixels

    def _shared_pixels(self, cache: ImageCache, index: int) -> Image:
        pixels = cache.get(index)
        if pixels is None:
            pixels = self._read(index)
            cache.put(index, pixels)
        return pixels

    def _read(self, index: int) -> Image:
        """The decoded image. Raises DataError: unreadable, or not the one that was labelled."""
        image = self.dataset.images[index]
        pixels = read_image(image.path)
        height, width = pixels.shape[:2]
        if (width, height) != (image.width, image.height):
            labelled = f"{image.width} x {image.height}"
            found = f"{image.path} has {width} x {height} pixels"
            raise DataError(f"{found}, {self.dataset.label_file} says {labelled}")
        return pixels


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
