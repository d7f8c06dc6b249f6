"""The samples that training draws from a data set.

A sample depends on the seed, the epoch and the image's index only, so that any number of
worker processes, and a run continued after an interruption, see the same samples.
"""

from dataclasses import replace

import numpy as np
from torch.utils.data import Dataset

from search_spaces.errors import ConfigError, DataError
from trials.augmentation.sample import Sample, draw_sample
from trials.data.cache import ImageCache
from trials.data.dataset import FaceDataset, check_broken
from trials.data.images import Image, read_image
from trials.recipe import Augmentation

DEFAULT_CACHE_BYTES = 512 << 20
SAMPLE_STREAM, ORDER_STREAM = 1, 2  # numpy seeds [s, e] and [s, e, 0] are the same stream


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
