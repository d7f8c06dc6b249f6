"""The training batches of a trial: samples of its recipe with their targets and names."""

import logging
from collections.abc import Iterator
from typing import Any

import torch

from trials.data.cache import DEFAULT_FILE_CACHE_BYTES, ImageCache
from trials.data.dataset import FaceDataset
from trials.device import default_loader_workers
from trials.loading.loader import TrainingLoader
from trials.loading.training_set import DEFAULT_CACHE_BYTES, TrainingSet
from trials.settings import CACHE_AUTO, CACHE_OFF, TrialSettings
from trials.training.epoch import Batch
from trials.training.parallel import ALONE, Workers
from trials.training.targets import Targets
from trials.trial import Trial

log = logging.getLogger(__name__)


class TrainingBatches:
    """Batches of a trial, or one worker's share of them; `len` is the number in an epoch.

    A batch depends only on the seed, the epoch and its position, so that a resumed trial
    sees the same batches.
    """

    def __init__(self, trial: Trial, device: torch.device, workers: Workers = ALONE) -> None:
        settings, recipe = trial.settings, trial.recipe
        readers = settings.loader_workers
        if readers is None:
            readers = default_loader_workers(device, settings.threads)
        dataset = FaceDataset(trial.data_root, "train", faceless=False, held_out=settings.held_out)
        self._loader = TrainingLoader(
            TrainingSet(
                dataset,
                image_size=settings.image_size,
                seed=settings.seed,
                recipe=recipe,
                **_cache_arguments(dataset, settings),
            ),
            batch_size=recipe.batch_size,
            workers=readers,
            device=device,
            on_device=augments_on_device(settings, device),
            rank=workers.rank,
            ranks=workers.count,
        )

    def __len__(self) -> int:
        return len(self._loader)

    def of_epoch(self, epoch: int, first: int = 0) -> Iterator[Batch]:
        """Yield the batches of an epoch.

        Args:
            epoch: from 1.
            first: number of batches to skip.

        Raises:
            DataError: too many images cannot be read.
        """
        for images_B3SS, faces, names in self._loader.batches(epoch, first):
            yield Batch(
                images_B3HW=images_B3SS,
                targets=[Targets.from_faces(item) for item in faces],
                names=names,
            )


def augments_on_device(settings: TrialSettings, device: torch.device) -> bool:
    """Return whether images are cropped, resized and flipped on the training device."""
    if settings.augment_on == "auto":
        return device.type != "cpu"
    return settings.augment_on == "device"


def _cache_arguments(dataset: FaceDataset, settings: TrialSettings) -> dict[str, Any]:
    """Return the arguments of `TrainingSet` that say where decoded images are cached."""
    in_files = settings.cache not in (CACHE_AUTO, CACHE_OFF)
    bound = DEFAULT_FILE_CACHE_BYTES if in_files else DEFAULT_CACHE_BYTES
    if settings.cache_gb is not None:
        bound = int(settings.cache_gb * 1e9)
    if not in_files:
        return {"cache_bytes": bound if settings.cache == CACHE_AUTO else 0}
    try:
        return {"cache": ImageCache(settings.cache, dataset.images, bound)}
    except OSError as error:  # without a cache the trial is slower, but it runs
        log.warning("%s: no decoded images are cached here (%s)", settings.cache, error.strerror)
        return {}
