"""Training samples drawn from a data set.

A sample depends on the seed, the epoch and the image's index only, so that any number of worker
processes, and a resumed run, see the same samples.
"""

from dataclasses import dataclass, field

import numpy as np
from torch.utils.data import Dataset

from search_spaces.errors import ConfigError, DataError
from trials.augmentation.on_cpu import bounded
from trials.augmentation.sample import Sample, draw_sample, sample_faces
from trials.data.cache import ImageCache
from trials.data.dataset import FaceDataset, check_broken
from trials.data.images import Image, read_image, require_size
from trials.data.labels import Faces
from trials.recipe import Recipe

DEFAULT_CACHE_BYTES = 512 << 20
SAMPLE_STREAM, ORDER_STREAM = 1, 2  # numpy seeds [s, e] and [s, e, 0] are the same stream


@dataclass(frozen=True, kw_only=True, eq=False)
class TrainingImage:
    """An image with the sample to make of it.

    Attributes:
        image_HW3: uint8 RGB, the part of the image that the crop shows.
        sample: what to do, in pixels of that part.
        faces: faces to train on, in pixels of the sample.
        name: name of the image.
        broken: one message for each unreadable image that this one replaces.
    """

    image_HW3: Image
    sample: Sample
    faces: Faces
    name: str
    broken: tuple[str, ...] = ()


@dataclass(eq=False)
class TrainingSet(Dataset[TrainingImage]):
    """Training samples of a data set, addressed by (epoch, index).

    Decoded images are kept in memory up to `cache_bytes` (in each process that draws samples);
    beyond that, images are decoded each time. The first images read are kept: within an epoch
    every image is used once, so replacing one by another would gain nothing. With a `cache` of
    files, which other trials use too, nothing is kept in memory.

    Raises:
        ConfigError: an image size below 1, a negative seed or a negative bound.
    """

    dataset: FaceDataset
    image_size: int
    seed: int
    recipe: Recipe = field(default_factory=Recipe)
    cache_bytes: int = DEFAULT_CACHE_BYTES
    cache: ImageCache | None = None
    _kept: dict[int, Image] = field(default_factory=dict, init=False, repr=False)
    _kept_bytes: int = field(default=0, init=False, repr=False)

    def __post_init__(self) -> None:
        if self.image_size < 1 or self.seed < 0 or self.cache_bytes < 0:
            raise ConfigError(
                "image_size must be at least 1, seed and cache_bytes at least 0, got "
                f"({self.image_size}, {self.seed}, {self.cache_bytes})"
            )

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, key: tuple[int, int]) -> TrainingImage:
        """Return the sample of (epoch, index).

        An unreadable image is replaced by the next one in the label file.

        Raises:
            DataError: more unreadable images in a row than a data set may have.
        """
        epoch, index = key
        broken: list[str] = []
        while True:
            at = (index + len(broken)) % len(self)
            try:
                pixels = self._pixels(at)
                break
            except DataError as error:
                broken.append(str(error))
                check_broken(broken, len(self))
        image = self.dataset.images[at]
        rng = np.random.default_rng([self.seed, epoch, index, SAMPLE_STREAM])
        drawn = draw_sample(pixels.shape[:2], image.faces, self.image_size, self.recipe, rng)
        sample, part_HW3 = bounded(drawn, pixels)
        return TrainingImage(
            image_HW3=part_HW3,
            sample=sample,
            faces=sample_faces(drawn, image.faces, clip=self.recipe.clip_boxes),
            name=image.name,
            broken=tuple(broken),
        )

    def _pixels(self, index: int) -> Image:
        """Return the decoded image, from memory or the file cache if it is there."""
        kept = self._kept.get(index) if self.cache is None else self.cache.get(index)
        if kept is not None:
            return kept
        pixels = self._read(index)
        if self.cache is not None:
            self.cache.put(index, pixels)
        elif self._kept_bytes + pixels.nbytes <= self.cache_bytes:
            self._kept[index] = pixels
            self._kept_bytes += pixels.nbytes
        return pixels

    def _read(self, index: int) -> Image:
        """Decode an image. Raises DataError: unreadable, or not of the labelled size."""
        image = self.dataset.images[index]
        pixels = read_image(image.path)
        require_size(image.path, (image.width, image.height), pixels.shape[1::-1])
        return pixels
