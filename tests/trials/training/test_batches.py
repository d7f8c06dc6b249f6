"""Training batches: caches of decoded images, augmentation on CPU or device, loader processes."""

import logging
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny import HEIGHT, TINY, WIDTH, make_data

from trials.device import available_cores, default_loader_workers
from trials.recipe import Recipe
from trials.settings import TrialSettings
from trials.training.batches import TrainingBatches, augments_on_device
from trials.training.epoch import Batch
from trials.trial import Trial

CPU, GPU = torch.device("cpu"), torch.device("cuda")
RECIPE = Recipe(batch_size=2)
SETTINGS = TrialSettings(epochs=2, image_size=64, device="cpu", threads=1)
COUNT = 5


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return make_data(tmp_path / "data", num_train=COUNT, num_val=1)


def batches_of(data: Path, device: torch.device = CPU, **settings: Any) -> TrainingBatches:
    trial = Trial(
        architecture=TINY,
        recipe=RECIPE,
        data_root=data,
        settings=replace(SETTINGS, **settings),
    )
    return TrainingBatches(trial, device)


def epochs_of(data: Path, **settings: Any) -> list[Batch]:
    batches = batches_of(data, **settings)
    return [batch for epoch in (1, 2) for batch in batches.of_epoch(epoch)]


def assert_same(ones: list[Batch], others: list[Batch]) -> None:
    for one, other in zip(ones, others, strict=True):
        assert torch.equal(one.images_B3HW, other.images_B3HW)
        assert one.names == other.names
        for left, right in zip(one.targets, other.targets, strict=True):
            assert torch.equal(left.boxes_G4, right.boxes_G4)


def cached_files(folder: Path) -> list[Path]:
    return sorted(folder.rglob("*.rgb"))


@pytest.fixture
def no_decoding(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Return a function after which decoding an image fails the test."""

    def forbid() -> None:
        monkeypatch.setattr(
            "trials.loading.training_set.read_image", lambda path: pytest.fail(str(path))
        )

    return forbid


def test_batches_are_bit_identical_with_every_cache(data: Path, tmp_path: Path) -> None:
    plain = epochs_of(data, cache="off")
    folder = str(tmp_path / "cache")
    assert_same(plain, epochs_of(data))
    assert_same(plain, epochs_of(data, cache=folder))
    assert len(cached_files(tmp_path / "cache")) == COUNT
    assert_same(plain, epochs_of(data, cache=folder))  # now from the files
    assert_same(plain, epochs_of(data, cache=folder, loader_workers=1))


def test_a_second_trial_reads_the_images_that_the_first_cached(
    data: Path, tmp_path: Path, no_decoding: Any
) -> None:
    folder = str(tmp_path / "cache")
    epochs_of(data, cache=folder)
    no_decoding()
    epochs_of(data, cache=folder, seed=7)


def test_the_default_cache_decodes_once_and_writes_nothing(data: Path, no_decoding: Any) -> None:
    batches = batches_of(data)
    before = sorted(data.rglob("*"))
    list(batches.of_epoch(1))
    no_decoding()
    list(batches.of_epoch(2))
    assert sorted(data.rglob("*")) == before


@pytest.mark.parametrize("settings", [{"cache": "off"}, {"cache_gb": 0}])
def test_without_a_cache_every_epoch_decodes(
    data: Path, no_decoding: Any, settings: dict[str, Any]
) -> None:
    batches = batches_of(data, **settings)
    list(batches.of_epoch(1))
    no_decoding()
    with pytest.raises(pytest.fail.Exception):
        list(batches.of_epoch(2))


def test_cache_gb_bounds_the_cache(data: Path, tmp_path: Path) -> None:
    two_images = 2.5 * (HEIGHT * WIDTH * 3 + 32) / 1e9
    epochs_of(data, cache=str(tmp_path / "cache"), cache_gb=two_images)
    assert len(cached_files(tmp_path / "cache")) == 2


def test_a_cache_folder_that_cannot_be_made_is_a_warning(
    data: Path, caplog: pytest.LogCaptureFixture
) -> None:
    blocked = data / "train/labelv2.txt/cache"
    with caplog.at_level(logging.WARNING):
        found = epochs_of(data, cache=str(blocked))
    assert_same(found, epochs_of(data, cache="off"))
    assert "labelv2.txt/cache: no decoded images are cached here" in caplog.text


def test_images_are_augmented_on_the_training_device_by_default() -> None:
    assert augments_on_device(SETTINGS, GPU)
    assert not augments_on_device(SETTINGS, CPU)
    assert augments_on_device(replace(SETTINGS, augment_on="device"), CPU)
    assert not augments_on_device(replace(SETTINGS, augment_on="cpu"), GPU)


def test_all_cores_but_one_prepare_samples_for_a_gpu() -> None:
    assert [default_loader_workers(GPU, cores) for cores in (1, 2, 8, 64)] == [0, 1, 7, 16]
    assert default_loader_workers(GPU, None) == min(16, available_cores() - 1)
    assert default_loader_workers(CPU, 8) == 0  # the network itself keeps them busy


@pytest.mark.parametrize(("asked", "expected"), [(None, 3), (0, 0), (5, 5)])
def test_loader_workers_follow_the_threads_unless_given(
    data: Path, monkeypatch: pytest.MonkeyPatch, asked: int | None, expected: int
) -> None:
    seen: dict[str, Any] = {}

    class Spy:
        def __init__(self, samples: object, **options: Any) -> None:
            seen.update(options)

    monkeypatch.setattr("trials.training.batches.TrainingLoader", Spy)
    batches_of(data, device=GPU, threads=4, loader_workers=asked)
    assert seen["workers"] == expected
    assert seen["on_device"]
