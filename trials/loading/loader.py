"""Batches of training samples, epoch by epoch, with or without worker processes.

Shapes: B images a batch, S side of the training square, 3 = RGB.
"""

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import islice
from typing import NamedTuple, TypeVar

import numpy as np
import torch
from torch.utils.data import DataLoader, Sampler, get_worker_info

from search_spaces.errors import ConfigError
from trials.augmentation.on_cpu import apply
from trials.augmentation.on_device import PackedImages, apply_batch, batch_memory, pack
from trials.augmentation.sample import Sample
from trials.data.dataset import check_broken
from trials.data.labels import Faces
from trials.loading.training_set import ORDER_STREAM, TrainingImage, TrainingSet

log = logging.getLogger(__name__)

ItemT = TypeVar("ItemT")


class LoadedBatch(NamedTuple):
    """Training images joined, as they come from a worker process.

    Attributes:
        images: finished samples, float32 (B, 3, S, S) in channels-last memory, or the images to
            apply `samples` to.
        samples: what is to be done to packed images.
        faces: of each image, in pixels of its sample.
        names: of the images.
        broken: one message for each unreadable image met.
    """

    images: torch.Tensor | PackedImages
    samples: list[Sample]
    faces: list[Faces]
    names: list[str]
    broken: list[str]

    def finish(self, device: torch.device | str) -> torch.Tensor:
        """Return the samples on `device`: float32 (B, 3, S, S) in channels-last memory."""
        if isinstance(self.images, PackedImages):
            return apply_batch(self.samples, self.images, device)
        return self.images.to(device, non_blocking=True)


def collate(items: Sequence[TrainingImage], *, on_device: bool) -> LoadedBatch:
    """Join training images, and apply their samples unless that is done on the device."""
    return LoadedBatch(
        images=pack([item.image_HW3 for item in items]) if on_device else _apply_all(items),
        samples=[item.sample for item in items],
        faces=[item.faces for item in items],
        names=[item.name for item in items],
        broken=[message for item in items for message in item.broken],
    )


def _apply_all(items: Sequence[TrainingImage]) -> torch.Tensor:
    size = items[0].sample.size
    images_BSS3 = batch_memory((len(items), size, size, 3), torch.float32)
    for out_SS3, item in zip(images_BSS3.numpy(), items, strict=True):
        apply(item.sample, item.image_HW3, out_SS3)
    return images_BSS3.permute(0, 3, 1, 2)


def epoch_order(seed: int, epoch: int, count: int) -> list[int]:
    """Return the order of `count` images in an epoch, a permutation given by seed and epoch."""
    rng = np.random.default_rng([seed, epoch, 0, ORDER_STREAM])
    return [int(index) for index in rng.permutation(count)]


def deal_batches(
    order: Sequence[ItemT], batch_size: int, rank: int = 0, ranks: int = 1
) -> Iterator[list[ItemT]]:
    """Yield the batches of data-parallel process `rank` of `ranks`.

    `batch_size * ranks` consecutive items of `order` form one batch of all processes together,
    whose items are assigned to the processes in turn. Every process gets as many batches, and no
    batch is empty: a last one with fewer items than processes is filled from the start of the
    order.
    """
    joint = batch_size * ranks
    for start in range(0, len(order), joint):
        batch = list(order[start : start + joint])
        while len(batch) < ranks:
            batch += order[: ranks - len(batch)]
        yield batch[rank::ranks]


@dataclass(kw_only=True)
class _EpochBatches(Sampler[list[tuple[int, int]]]):
    """(epoch, index) pairs of the epoch that was set last, batch by batch from the `first`."""

    seed: int
    count: int
    batch_size: int
    rank: int
    ranks: int
    epoch: int = 0
    first: int = 0

    def __len__(self) -> int:
        return -(-self.count // (self.batch_size * self.ranks))

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        order = [(self.epoch, index) for index in epoch_order(self.seed, self.epoch, self.count)]
        batches = deal_batches(order, self.batch_size, self.rank, self.ranks)
        yield from islice(batches, self.first, None)


class TrainingLoader:
    """Batches of a training set, epoch by epoch, prepared by worker processes if asked.

    Worker processes persist between epochs (with their images in memory) and share the set's
    `cache_bytes`. Samples are applied by the process that decodes the images, or, with
    `on_device`, on the device (see `trials.augmentation.on_device`). Unreadable images are
    logged once; too many end the training.
    """

    def __init__(
        self,
        training_set: TrainingSet,
        *,
        batch_size: int,
        workers: int = 0,
        device: torch.device | str = "cpu",
        on_device: bool = False,
        rank: int = 0,
        ranks: int = 1,
    ) -> None:
        """Start a loader; its worker processes start with the first batch.

        Args:
            training_set: what to draw samples from.
            batch_size: images of each batch of this process.
            workers: worker processes; 0 prepares the batches in this process.
            device: where the batches are returned.
            on_device: apply samples on the device.
            rank: number of this process among data-parallel ones (see `deal_batches`).
            ranks: how many data-parallel processes there are.

        Raises:
            ConfigError: a batch size below 1, or a negative number of workers.
        """
        if batch_size < 1 or workers < 0:
            rule = "batch_size must be at least 1 and workers at least 0"
            raise ConfigError(f"{rule}, got (batch_size={batch_size}, workers={workers})")
        self.broken: dict[str, None] = {}
        self.device = torch.device(device)
        self._images = len(training_set)
        self._batches = _EpochBatches(
            seed=training_set.seed,
            count=self._images,
            batch_size=batch_size,
            rank=rank,
            ranks=ranks,
        )
        self._loader: DataLoader[TrainingImage] = DataLoader(
            training_set,
            batch_sampler=self._batches,
            num_workers=workers,
            collate_fn=partial(collate, on_device=on_device),
            pin_memory=self.device.type != "cpu",
            persistent_workers=workers > 0,
            worker_init_fn=partial(_share_cache, workers=workers) if workers else None,
        )

    def __len__(self) -> int:
        return len(self._batches)

    def batches(
        self, epoch: int, first: int = 0
    ) -> Iterator[tuple[torch.Tensor, list[Faces], list[str]]]:
        """Yield images, their faces and their names of every batch of an epoch from the `first`.

        The images are float32 (B, 3, S, S) on the device, in channels-last memory, in which the
        network reads them. The last batch may be smaller.

        Raises:
            DataError: too many unreadable images.
        """
        self._batches.epoch, self._batches.first = epoch, first
        for batch in self._loader:
            self._log_broken(batch.broken)
            yield batch.finish(self.device), batch.faces, batch.names

    def _log_broken(self, messages: Sequence[str]) -> None:
        """Log each unreadable image once; raise if they are too many."""
        new = [message for message in dict.fromkeys(messages) if message not in self.broken]
        for message in new:
            log.warning("%s; another image takes its place", message)
        self.broken.update(dict.fromkeys(new))
        if new:
            check_broken(list(self.broken), self._images)


def _share_cache(_worker: int, *, workers: int) -> None:
    """Give a worker process its share of the memory for decoded images."""
    info = get_worker_info()
    if info is not None and isinstance(info.dataset, TrainingSet):
        info.dataset.cache_bytes //= workers
