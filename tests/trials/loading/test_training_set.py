import logging
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image as Pillow

from search_spaces.errors import ConfigError, DataError
from trials.augmentation.colour import Distortion, distort
from trials.data.dataset import FaceDataset
from trials.data.labels import AnnotatedImage, Faces, write_labelv2
from trials.loading.loader import TrainingLoader, collate, epoch_order
from trials.loading.training_set import TrainingSet
from trials.recipe import Augmentation


def make_set(root: Path, count: int = 5, size: tuple[int, int] = (48, 64)) -> Path:
    """A small split `train`: noise with two faces an image."""
    rng = np.random.default_rng(0)
    height, width = size
    images = []
    for number in range(count):
        name = f"e/{number}.png"
        path = root / "train/images" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Pillow.fromarray(rng.integers(0, 256, (height, width, 3), dtype=np.uint8)).save(path)
        faces = Faces.of_boxes([[5, 5, 15, 20], [30 + number, 20, 45, 40]])
        images.append(AnnotatedImage(name=name, path=path, width=width, height=height, faces=faces))
    write_labelv2(root / "train/labelv2.txt", images)
    return root


def break_image(root: Path, number: int) -> None:
    (root / f"train/images/e/{number}.png").write_bytes(b"broken")


def training_set(root: Path, **options: object) -> TrainingSet:
    settings = {"image_size": 32, "seed": 0} | options
    return TrainingSet(FaceDataset(root, "train"), **settings)  # type: ignore[arg-type]


def epoch_of(loader: TrainingLoader, epoch: int) -> list[tuple[torch.Tensor, list[Faces]]]:
    return list(loader.batches(epoch))


def assert_same_batches(
    one: list[tuple[torch.Tensor, list[Faces]]], other: list[tuple[torch.Tensor, list[Faces]]]
) -> None:
    assert len(one) == len(other)
    for (images_1, faces_1), (images_2, faces_2) in zip(one, other, strict=True):
        assert torch.equal(images_1, images_2)
        for left, right in zip(faces_1, faces_2, strict=True):
            np.testing.assert_array_equal(left.boxes_N4, right.boxes_N4)


def test_a_split_that_is_not_there_is_explained(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"train/labelv2.txt: there is no such label file"):
        FaceDataset(tmp_path, "train")
    with pytest.raises(ConfigError, match="split must be one of train, val, got 'test'"):
        FaceDataset(tmp_path, "test")


def test_images_without_countable_faces_can_be_left_out(tmp_path: Path) -> None:
    (tmp_path / "train").mkdir()
    text = "# a.jpg 9 9\n# b.jpg 9 9\n1 1 5 5 1\n# c.jpg 9 9\n1 1 1 5\n# d.jpg 9 9\n1 1 5 5\n"
    (tmp_path / "train/labelv2.txt").write_text(text)
    assert len(FaceDataset(tmp_path, "train")) == 4
    assert [i.name for i in FaceDataset(tmp_path, "train", faceless=False).images] == ["d.jpg"]
    (tmp_path / "train/labelv2.txt").write_text("# a.jpg 9 9\n")
    with pytest.raises(DataError, match="no image with a face that counts"):
        FaceDataset(tmp_path, "train", faceless=False)


def test_sample_has_the_size_asked_for_and_its_faces_lie_in_the_square(tmp_path: Path) -> None:
    samples = training_set(make_set(tmp_path))
    for index in range(5):
        sample = samples.sample(index, 0)
        assert sample.square().shape == (32, 32, 3)
        assert sample.square().dtype == np.uint8
        assert len(sample.faces) >= 1
        assert sample.faces.boxes_N4.min() >= 0
        assert sample.faces.boxes_N4.max() <= 32


def test_plain_augmentation_gives_the_image_itself(tmp_path: Path) -> None:
    root = make_set(tmp_path, size=(32, 32))
    plain = Augmentation(crop_scales=(1.0,), flip=0.0, distort=False)
    samples = training_set(root, augmentation=plain)
    with Pillow.open(root / "train/images/e/3.png") as image:
        expected = np.asarray(image)
    sample = samples.sample(3, 7)
    np.testing.assert_array_equal(sample.square(), expected)
    assert sample.distortion == Distortion()
    images = collate([sample]).finish()
    found = images[0].permute(1, 2, 0).numpy()
    np.testing.assert_array_equal(found, (expected.astype(np.float32) - 127.5) / 128)
    # the second face's centre is (39, 30): outside the 32 pixels
    assert sample.faces.boxes_N4.tolist() == [[5, 5, 15, 20]]


def test_flip_mirrors_pixels_and_boxes_together(tmp_path: Path) -> None:
    root = make_set(tmp_path, size=(32, 32))
    kept, mirrored = (
        training_set(
            root, augmentation=Augmentation(crop_scales=(1.0,), flip=flip, distort=False)
        ).sample(0, 0)
        for flip in (0.0, 1.0)
    )
    np.testing.assert_array_equal(mirrored.square(), kept.square()[:, ::-1])
    assert mirrored.faces.boxes_N4.tolist() == [[17, 5, 27, 20]]


def test_ignored_faces_take_no_part(tmp_path: Path) -> None:
    root = make_set(tmp_path, count=1)
    (root / "train/labelv2.txt").write_text("# e/0.png 64 48\n5 5 15 20 1\n30 20 45 40\n")
    samples = training_set(root)
    for epoch in range(30):
        assert len(samples.sample(0, epoch).faces) == 1


def test_an_image_with_only_ignored_faces_is_cropped_all_the_same(tmp_path: Path) -> None:
    root = make_set(tmp_path, count=1)
    (root / "train/labelv2.txt").write_text("# e/0.png 64 48\n5 5 15 20 1\n")
    sample = training_set(root).sample(0, 0)
    assert len(sample.faces) == 0
    assert sample.square().shape == (32, 32, 3)


def test_samples_depend_on_seed_epoch_and_index_only(tmp_path: Path) -> None:
    root = make_set(tmp_path)
    one, other = training_set(root), training_set(root, cache_bytes=0)
    for index in (4, 0, 2):
        other.sample(index, 9)  # what was drawn before must not matter
    square = one.sample(2, 3).square()
    np.testing.assert_array_equal(square, other.sample(2, 3).square())
    assert not np.array_equal(square, one.sample(2, 4).square())
    assert not np.array_equal(square, training_set(root, seed=1).sample(2, 3).square())


def test_epoch_order_is_a_permutation_that_changes() -> None:
    first, second = epoch_order(0, 0, 50), epoch_order(0, 1, 50)
    assert sorted(first) == sorted(second) == list(range(50))
    assert first != second
    assert first == epoch_order(0, 0, 50)
    assert first != epoch_order(1, 0, 50)
    assert epoch_order(0, 0, 0) == []


def test_cache_is_bounded_and_saves_decoding(tmp_path: Path) -> None:
    root = make_set(tmp_path)
    samples = training_set(root, cache_bytes=2 * 48 * 64 * 3)
    before = [samples.sample(index, 0).square() for index in range(5)]
    for number in (0, 1):  # the two that were kept are not read again
        (root / f"train/images/e/{number}.png").unlink()
    after = [samples.sample(index, 0) for index in range(5)]
    assert all(np.array_equal(a.square(), b) for a, b in zip(after, before, strict=True))
    assert not any(sample.broken for sample in after)


def test_loader_gives_every_image_once_and_a_smaller_last_batch(tmp_path: Path) -> None:
    loader = TrainingLoader(training_set(make_set(tmp_path)), batch_size=2)
    sizes = [len(images) for images, _ in loader.batches(0)]
    assert sizes == [2, 2, 1]
    assert len(loader) == 3
    whole = TrainingLoader(training_set(tmp_path), batch_size=2, drop_last=True)
    assert [len(faces) for _, faces in whole.batches(0)] == [2, 2]
    assert len(whole) == 2


def test_workers_and_continued_runs_see_the_same_batches(tmp_path: Path) -> None:
    root = make_set(tmp_path)
    alone = TrainingLoader(training_set(root), batch_size=2)
    helped = TrainingLoader(training_set(root), batch_size=2, workers=2)
    epochs = [epoch_of(alone, epoch) for epoch in (0, 1)]
    assert_same_batches(epoch_of(helped, 0), epochs[0])
    assert_same_batches(epoch_of(helped, 1), epochs[1])
    assert_same_batches(epoch_of(TrainingLoader(training_set(root), batch_size=2), 1), epochs[1])


def test_a_broken_image_is_replaced_and_named(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    root = make_set(tmp_path)
    break_image(root, 4)
    loader = TrainingLoader(training_set(root), batch_size=2)
    with caplog.at_level(logging.WARNING):
        for epoch in (0, 1):
            assert sum(len(images) for images, _ in loader.batches(epoch)) == 5
    assert len(loader.broken) == 1
    assert len(caplog.records) == 1
    assert "e/4.png" in caplog.text


def test_an_image_of_another_size_than_its_label_says_counts_as_broken(tmp_path: Path) -> None:
    root = make_set(tmp_path)
    Pillow.new("RGB", (20, 30)).save(root / "train/images/e/4.png")
    loader = TrainingLoader(training_set(root), batch_size=2)
    for epoch in (0, 1):
        assert sum(len(images) for images, _ in loader.batches(epoch)) == 5
    (message,) = loader.broken
    assert "e/4.png has 20 x 30 pixels" in message
    assert f"{root / 'train/labelv2.txt'} says 64 x 48" in message


def test_replacement_of_a_broken_image_does_not_depend_on_the_order(tmp_path: Path) -> None:
    root = make_set(tmp_path)
    break_image(root, 4)
    one, other = training_set(root), training_set(root)
    other.sample(0, 0)
    np.testing.assert_array_equal(one.sample(4, 0).square(), other.sample(4, 0).square())


def test_too_many_broken_images_end_the_training(tmp_path: Path) -> None:
    root = make_set(tmp_path, count=30)
    for number in range(0, 22, 2):  # 11 of 30
        break_image(root, number)
    loader = TrainingLoader(training_set(root, image_size=8), batch_size=4)
    with pytest.raises(DataError, match=r"11 of 30 images cannot be read.*data check"):
        epoch_of(loader, 0)


def test_a_set_of_broken_images_only_is_an_error(tmp_path: Path) -> None:
    root = make_set(tmp_path, count=3)
    for number in range(3):
        break_image(root, number)
    with pytest.raises(DataError, match="3 of 3 images"):
        training_set(root).sample(1, 0)


def test_collate_joins_images_and_lists_faces(tmp_path: Path) -> None:
    samples = training_set(make_set(tmp_path))
    batch = collate([samples[0, 1], samples[0, 3]])
    assert batch.pixels_B3SS.shape == (2, 3, 32, 32)
    assert [len(faces) for faces in batch.faces] == [
        len(samples.sample(1, 0).faces), len(samples.sample(3, 0).faces),
    ]  # fmt: skip
    assert batch.broken == []


def test_finished_images_are_distorted_one_by_one(tmp_path: Path) -> None:
    samples = training_set(make_set(tmp_path))
    batch = collate([samples[0, index] for index in range(5)])
    images = batch.finish()
    assert images.dtype == torch.float32
    assert images.is_contiguous(memory_format=torch.channels_last)
    for index in range(5):
        alone = samples.sample(index, 0)
        pixels = torch.from_numpy(alone.square().copy()).permute(2, 0, 1)
        assert torch.equal(images[index], distort(pixels, alone.distortion))


def test_impossible_settings_are_refused(tmp_path: Path) -> None:
    root = make_set(tmp_path, count=1)
    with pytest.raises(ConfigError, match="image_size"):
        training_set(root, image_size=0)
    with pytest.raises(ConfigError, match="batch_size"):
        TrainingLoader(training_set(root), batch_size=0)
