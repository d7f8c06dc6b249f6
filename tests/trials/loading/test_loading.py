"""Training samples of a data set, and the loader that joins them to batches."""

import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from images import make_split, noise, save_image

from search_spaces.errors import ConfigError, DataError
from trials.augmentation.colour import Distortion
from trials.augmentation.on_cpu import apply
from trials.data.dataset import FaceDataset
from trials.data.labels import Faces
from trials.loading.loader import TrainingLoader, collate, deal_batches, epoch_order
from trials.loading.training_set import TrainingImage, TrainingSet
from trials.recipe import Recipe

SIZES = [(48, 64), (90, 40), (64, 64), (33, 120), (50, 70)]
Batches = list[tuple[torch.Tensor, list[Faces], list[str]]]


def make_set(root: Path, count: int = 5, **options: Any) -> TrainingSet:
    """Write images of noise with two faces each and return their training set."""
    sizes = [SIZES[number % len(SIZES)] for number in range(count)]
    make_split(root, sizes, [[5, 5, 15, 20], [20, 15, 35, 32]])
    return open_set(root, **options)


def open_set(root: Path, **options: Any) -> TrainingSet:
    return TrainingSet(FaceDataset(root, "train"), **({"image_size": 32, "seed": 0} | options))


def image_path(root: Path, number: int) -> Path:
    return root / f"train/images/{number}.png"


def pixels_of(item: TrainingImage) -> np.ndarray:
    return apply(item.sample, item.image_HW3)


def assert_same(one: Batches, other: Batches) -> None:
    for (images, faces, names), (other_images, other_faces, other_names) in zip(
        one, other, strict=True
    ):
        assert torch.equal(images, other_images)
        assert names == other_names
        for left, right in zip(faces, other_faces, strict=True):
            np.testing.assert_array_equal(left.boxes_N4, right.boxes_N4)


def test_a_plain_augmentation_gives_the_image_itself_or_its_mirror_image(tmp_path: Path) -> None:
    make_split(tmp_path, [(32, 32)], [[5, 5, 15, 20], [28, 28, 50, 32]])
    for flip, pixels, box in ((0.0, noise(32, 32), 5), (1.0, noise(32, 32)[:, ::-1], 17)):
        plain = Recipe(crop_scales=(1.0,), flip=flip, distort=False)
        item = open_set(tmp_path, recipe=plain)[7, 0]
        np.testing.assert_array_equal(pixels_of(item), (pixels.astype(np.float32) - 127.5) / 128)
        assert item.sample.distortion == Distortion()
        # the centre of the second face is (39, 30), outside of the image
        assert item.faces.boxes_N4.tolist() == [[box, 5, box + 10, 20]]


def test_an_image_with_only_ignored_faces_is_cropped_too(tmp_path: Path) -> None:
    make_set(tmp_path, count=1)
    (tmp_path / "train/labelv2.txt").write_text("# 0.png 64 48\n5 5 15 20 1\n")
    item = open_set(tmp_path)[0, 0]
    assert len(item.faces) == 0
    assert pixels_of(item).shape == (32, 32, 3)


def test_samples_depend_on_seed_epoch_and_index_only(tmp_path: Path) -> None:
    one, other = make_set(tmp_path), open_set(tmp_path, cache_bytes=0)
    for index in (4, 0, 2):
        other[9, index]  # earlier draws must not matter
    pixels = pixels_of(one[3, 2])
    np.testing.assert_array_equal(pixels, pixels_of(other[3, 2]))
    for changed in (one[4, 2], open_set(tmp_path, seed=1)[3, 2]):
        assert not np.array_equal(pixels, pixels_of(changed))


def test_epoch_order_is_a_permutation_that_changes() -> None:
    first, second = epoch_order(0, 0, 50), epoch_order(0, 1, 50)
    assert sorted(first) == sorted(second) == list(range(50))
    assert first != second
    assert first == epoch_order(0, 0, 50)
    assert first != epoch_order(1, 0, 50)
    assert epoch_order(0, 0, 0) == []


def test_data_parallel_processes_share_each_batch() -> None:
    shares = [list(deal_batches(range(7), 2, rank, ranks=2)) for rank in (0, 1)]
    assert shares == [[[0, 2], [4, 6]], [[1, 3], [5]]]
    # a last batch of fewer items than processes starts again from the first item
    assert [list(deal_batches(range(5), 2, rank, 2))[-1] for rank in (0, 1)] == [[4], [0]]
    dealt = [list(deal_batches([5, 6], 4, rank, 5)) for rank in range(5)]
    assert dealt == [[[5]], [[6]], [[5]], [[6]], [[5]]]
    assert list(deal_batches(range(7), 6)) == [[0, 1, 2, 3, 4, 5], [6]]
    assert list(deal_batches([], 4, 1, 2)) == []


def test_decoded_images_are_kept_up_to_the_bound(tmp_path: Path) -> None:
    samples = make_set(tmp_path, cache_bytes=3 * (48 * 64 + 90 * 40))
    before = [pixels_of(samples[0, index]) for index in range(5)]
    for number in (0, 1):  # the two that were kept are not read again
        image_path(tmp_path, number).unlink()
    after = [samples[0, index] for index in range(5)]
    assert all(np.array_equal(pixels_of(a), b) for a, b in zip(after, before, strict=True))
    assert not any(item.broken for item in after)


@pytest.mark.parametrize("on_device", [False, True])
def test_collated_batches_hold_the_samples_one_by_one(tmp_path: Path, on_device: bool) -> None:
    samples = make_set(tmp_path)
    items = [samples[0, index] for index in range(5)]
    batch = collate(items, on_device=on_device)
    assert [len(faces) for faces in batch.faces] == [len(item.faces) for item in items]
    assert batch.broken == []
    images = batch.finish("cpu")
    assert images.dtype == torch.float32
    assert images.is_contiguous(memory_format=torch.channels_last)
    for image, item in zip(images, items, strict=True):
        apart = np.abs(image.permute(1, 2, 0).numpy() - pixels_of(item))
        assert apart.mean() < (0.5 / 128 if on_device else 1e-9)


def test_a_loader_gives_every_image_once_and_a_smaller_last_batch(tmp_path: Path) -> None:
    loader = TrainingLoader(make_set(tmp_path), batch_size=2)
    assert [len(images) for images, *_ in loader.batches(0)] == [2, 2, 1]
    assert len(loader) == 3
    assert_same(list(loader.batches(0, first=1)), list(loader.batches(0))[1:])


@pytest.mark.parametrize("on_device", [False, True])
def test_workers_and_resumed_runs_see_the_same_batches(tmp_path: Path, on_device: bool) -> None:
    make_set(tmp_path)
    alone, helped, resumed = (
        TrainingLoader(open_set(tmp_path), batch_size=2, workers=workers, on_device=on_device)
        for workers in (0, 2, 0)
    )
    epochs = [list(alone.batches(epoch)) for epoch in (0, 1)]
    for epoch in (0, 1):
        assert_same(list(helped.batches(epoch)), epochs[epoch])
    assert_same(list(resumed.batches(1)), epochs[1])


@pytest.mark.parametrize("on_device", [False, True])
def test_a_broken_image_is_replaced_and_logged_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, on_device: bool
) -> None:
    samples, other = make_set(tmp_path), open_set(tmp_path)
    image_path(tmp_path, 4).write_bytes(b"broken")
    loader = TrainingLoader(samples, batch_size=2, on_device=on_device)
    with caplog.at_level(logging.WARNING):
        for epoch in (0, 1):
            assert sum(len(images) for images, *_ in loader.batches(epoch)) == 5
    assert len(loader.broken) == len(caplog.records) == 1
    assert "4.png" in caplog.text
    other[0, 0]  # the replacement does not depend on what was read before
    np.testing.assert_array_equal(pixels_of(samples[0, 4]), pixels_of(other[0, 4]))


def test_an_image_of_another_size_than_its_label_counts_as_broken(tmp_path: Path) -> None:
    loader = TrainingLoader(make_set(tmp_path), batch_size=2)
    save_image(image_path(tmp_path, 0), noise(30, 20))
    assert sum(len(images) for images, *_ in loader.batches(0)) == 5
    (message,) = loader.broken
    assert "0.png: has 20 x 30 pixels, but is labelled as 64 x 48" in message


@pytest.mark.parametrize(("count", "broken"), [(30, range(0, 22, 2)), (3, range(3))])
def test_too_many_broken_images_end_the_training(tmp_path: Path, count: int, broken: range) -> None:
    loader = TrainingLoader(make_set(tmp_path, count), batch_size=4)
    for number in broken:
        image_path(tmp_path, number).write_bytes(b"broken")
    rule = rf"{len(broken)} of {count} images cannot be read.*data check"
    with pytest.raises(DataError, match=rule):
        list(loader.batches(0))


def test_invalid_settings_raise(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"image_size .*got \(0, 0, 536870912\)"):
        make_set(tmp_path, image_size=0)
    with pytest.raises(ConfigError, match="batch_size"):
        TrainingLoader(open_set(tmp_path), batch_size=0)
