"""Batches of training samples, epoch by epoch, with or without worker processes.

Shapes: B images a batch, S side of the training square, 3 = RGB.
"""

import logging
from collections.abc import Iterator, Sequence
from functools import partial
from itertools import islice
from typing import NamedTuple, TypeVar

import numpy as np
import torch
from torch.utils.data import DataLoader, Sampler, get_worker_info

from search_spaces.errors import ConfigError
from trials.augmentation.batch_memory import batch_memory
from trials.augmentation.colour import Distortion, distort
from trials.augmentation.on_device import distort_batch, pack, pack_distortions
from trials.augmentation.sample import Sample
from trials.data.dataset import check_broken
from trials.data.labels import Faces
from trials.loading.training_set import ORDER_STREAM, TrainingSet

log = logging.getLogger(__name__)

ItemT = TypeVar("ItemT")


class Batch(NamedTuple):
    """Samples joined, whose colours are still to be distorted.

    Bytes travel between processes four times as fast as floats.

    Attributes:
        pixels_B3SS: uint8 RGB, cut out, resized and flipped.
        distortions: of each image, still to be applied.
        faces: of each image, in pixels of the square.
        broken: one message for each unreadable image met.
    """

    pixels_B3SS: torch.Tensor
    distortions: list[Distortion]
    faces: list[Faces]
    broken: list[str]

    def finish(self, device: torch.device | str = "cpu") -> torch.Tensor:
        """The images on `device`: float32 (B, 3, S, S) in channels-last memory, normalised."""
        if torch.device(device).type != "cpu":
            colours, orders = pack_distortions(self.distortions)
            pixels_BSS3 = self.pixels_B3SS.to(device, non_blocking=True).permute(0, 2, 3, 1)
            images_BSS3 = distort_batch(pixels_BSS3, colours.to(device), orders.to(device))
            return images_BSS3.permute(0, 3, 1, 2).contiguous(memory_format=torch.channels_last)
        images_B3SS = torch.empty(
            self.pixels_B3SS.shape, dtype=torch.float32, memory_format=torch.channels_last
        )
        for image, pixels, distortion in zip(
            images_B3SS, self.pixels_B3SS, self.distortions, strict=True
        ):
            distort(pixels, distortion, out=image)
        return images_B3SS


def collate(samples: Sequence[Sample]) -> Batch:
    """Cut out, resize and flip the samples, and join them."""
    size = samples[0].size
    pixels_B3SS = batch_memory((len(samples), 3, size, size))
    for target_3SS, sample in zip(pixels_B3SS.numpy(), samples, strict=True):
        square_SS3 = sample.square()
        for channel, target_SS in enumerate(target_3SS):  # faster than all three at once
            np.copyto(target_SS, square_SS3[:, :, channel])
    return Batch(
        pixels_B3SS=pixels_B3SS,
        distortions=[sample.distortion for sample in samples],
        faces=[sample.faces for sample in samples],
        broken=[message for sample in samples for message in sample.broken],
    )


def epoch_order(seed: int, epoch: int, count: int) -> list[int]:
    """The order of `count` images in an epoch: a permutation given by seed and epoch."""
    rng = np.random.default_rng([seed, epoch, 0, ORDER_STREAM])
    return [int(index) for index in rng.permutation(count)]


def deal_batches(
    order: Sequence[ItemT], batch_size: int, rank: int = 0, ranks: int = 1
) -> Iterator[list[ItemT]]:
    """The batches that data-parallel process `rank` of `ranks` trains on, in `order`.

    `batch_size * ranks` consecutive items form one batch of all processes together, which is
    dealt out like cards. Every process gets as many batches, and no batch is empty: a last
    one with fewer items than processes is filled up from the start of the order.
    """
    joint = batch_size * ranks
    for start in range(0, len(order), joint):
        batch = list(order[start : start + joint])
        while len(batch) < ranks:
            batch += order[: ranks - len(batch)]
        yield batch[rank::ranks]


class _EpochBatches(Sampler[list[tuple[int, int]]]):
    """(epoch, index) pairs of the epoch that was set last, batch by batch."""

    def __init__(
        self, seed: int, count: int, batch_size: int, drop_last: bool, rank: int, ranks: int
    ) -> None:
        self.seed, self.count = seed, count
        self.batch_size, self.drop_last = batch_size, drop_last
        self.rank, self.ranks = rank, ranks
        self.epoch, self.first = 0, 0

    def __len__(self) -> int:
        whole, rest = divmod(self.count, self.batch_size * self.ranks)
        return whole if self.drop_last or not rest else whole + 1

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        order = [(self.epoch, index) for index in epoch_order(self.seed, self.epoch, self.count)]
        batches = deal_batches(order, self.batch_size, self.rank, self.ranks)
        yield from islice(batches, self.first, len(self))


class TrainingLoader:
    """Batches of a training set, epoch by epoch, prepared by worker processes if asked.

    Worker processes live on between epochs (with their images in memory) and share
    `cache_bytes`. Colours are distorted on `device`, where the batches are handed out; with
    `on_device` crop, resize and flip are done there too (see `trials.augmentation.on_device`).
    Unreadable images are logged once; too many end the training.

    Of several data-parallel processes each has its own loader, which draws the share of
    process `rank` of `ranks` (see `deal_batches`); `batch_size` is that of each.
    """

    def __init__(
        self,
        training_set: TrainingSet,
        *,
        batch_size: int,
        workers: int = 0,
        drop_last: bool = False,
        pin_memory: bool = False,
        device: torch.device | str = "cpu",
        on_device: bool = False,
        rank: int = 0,
        ranks: int = 1,
    ) -> None:
        if batch_size < 1 or workers < 0:
            rule = "batch_size must be at least 1 and workers at least 0"
            raise ConfigError(f"{rule}, got (batch_size={batch_size}, workers={workers})")
        self.broken: dict[str, None] = {}
        self.device = device
        self._images = len(training_set)
        self._batches = _EpochBatches(
            training_set.seed, self._images, batch_size, drop_last, rank, ranks
        )
        self._loader: DataLoader[Sample] = DataLoader(
            training_set,
            batch_sampler=self._batches,
            num_workers=workers,
            collate_fn=pack if on_device else collate,
            pin_memory=pin_memory,
            persistent_workers=workers > 0,
            worker_init_fn=partial(_share_cache, workers=workers) if workers else None,
        )

    def __len__(self) -> int:
        return len(self._batches)

    def batches(self, epoch: int, first: int = 0) -> Iterator[tuple[torch.Tensor, list[Faces]]]:
        """Images (B, 3, S, S) on the device and their faces, for every batch of an epoch.

        The images lie in channels-last memory, in which the network reads them. The last
        batch may be smaller. One epoch at a time; its batches before `first` are left out.

        Raises:
            DataError: too many unreadable images.
        """
        self._batches.epoch, self._batches.first = epoch, first
        for batch in self._loader:
            self._note_broken(batch.broken)
            yield batch.finish(self.device), batch.faces

    def _note_broken(self, messages: Sequence[str]) -> None:
        """Log each unreadable image once; raise if they are too many."""
        new = [message for message in messages if message not in self.broken]
        for message in dict.fromkeys(new):
            log.warning("%s; another image takes its place", message)
        self.broken.update(dict.fromkeys(new))
        if new:
            check_broken(list(self.broken), self._images)


def _share_cache(_worker: int, *, workers: int) -> None:
    """Give a worker process its share of the memory for decoded images."""
    info = get_worker_info()
    if info is not None and isinstance(info.dataset, TrainingSet):
        info.dataset.cache_bytes //= workers
