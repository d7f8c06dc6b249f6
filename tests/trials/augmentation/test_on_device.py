from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image as Pillow

from trials.augmentation.colour import Distortion, distort
from trials.augmentation.crop import Crop, crop_faces, crop_image, visible_part
from trials.augmentation.on_device import (
    PackedBatch,
    cut_squares,
    distort_batch,
    pack,
    pack_distortions,
)
from trials.augmentation.sample import Sample, bounded
from trials.data.dataset import FaceDataset
from trials.data.images import Image
from trials.data.labels import AnnotatedImage, Faces, write_labelv2
from trials.loading.loader import TrainingLoader, collate
from trials.loading.training_set import TrainingSet
from trials.recipe import Augmentation

NO_FACES = Faces.of_boxes(np.zeros((0, 4)))
COLOURS = [
    Distortion(), Distortion(gain=1.4, offset=-20, order=(2, 0, 1)), Distortion(saturation=0.6),
    Distortion(hue=0.25, late_gain=0.7), Distortion(hue=-0.3, saturation=1.5, order=(1, 0, 2)),
]  # fmt: skip


def noise(height: int, width: int, seed: int = 0) -> Image:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def sample_of(image: Image, crop: Crop, size: int, *, flipped: bool = False) -> Sample:
    part, placed = visible_part(image, crop)
    return Sample(
        part_HW3=part, crop=placed, size=size, flipped=flipped, distortion=Distortion(),
        faces=NO_FACES,
    )  # fmt: skip


def squares_of(batch: PackedBatch) -> np.ndarray:
    return cut_squares(batch.pixels_P3, batch.layout_B7, batch.size).numpy()


def make_set(root: Path, sizes: list[tuple[int, int]]) -> FaceDataset:
    images = []
    for number, (height, width) in enumerate(sizes):
        path = root / f"train/images/{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Pillow.fromarray(noise(height, width, number)).save(path)
        faces = Faces.of_boxes([[5, 5, 15, 20], [width - 20, height - 30, width - 5, height - 8]])
        images.append(
            AnnotatedImage(name=path.name, path=path, width=width, height=height, faces=faces)
        )
    write_labelv2(root / "train/labelv2.txt", images)
    return FaceDataset(root, "train")


@pytest.fixture
def samples(tmp_path: Path) -> TrainingSet:
    sizes = [(48, 64), (90, 40), (64, 64), (33, 120), (50, 70), (128, 96)]
    return TrainingSet(make_set(tmp_path, sizes), image_size=64, seed=0)


def test_two_pixels_to_four_by_hand() -> None:
    # half-pixel centres: weights 0, 1/4, 3/4, 1 of the second pixel, along both axes
    image = np.array([[[0] * 3, [100] * 3], [[200] * 3, [40] * 3]], np.uint8)
    found = squares_of(pack([sample_of(image, Crop(left=0, top=0, side=2), 4)]))
    assert found[0, 0, :, 0].tolist() == [0, 25, 75, 100]
    assert found[0, :, 0, 2].tolist() == [0, 50, 150, 200]
    flipped = pack([sample_of(image, Crop(left=0, top=0, side=2), 4, flipped=True)])
    assert squares_of(flipped)[0, 0, :, 0].tolist() == [100, 75, 25, 0]


def test_outside_of_the_image_is_grey_and_meets_it_as_on_a_canvas() -> None:
    image = np.zeros((1, 2, 3), np.uint8)
    found = squares_of(pack([sample_of(image, Crop(left=-1, top=0, side=4), 8)]))[0, :, :, 1]
    # canvas of one row: grey, 0, 0, grey; places at -0.25, 0.25, ... 3.25 of it
    assert found[0].tolist() == [128, 96, 32, 0, 0, 32, 96, 128]
    assert (found[3:] == 128).all()


@pytest.mark.parametrize("flipped", [False, True])
def test_all_kinds_of_crops_in_one_batch_agree_with_the_cpu_to_a_grey_level(
    flipped: bool,
) -> None:
    image = noise(90, 130)
    crops = [
        Crop(left=20, top=10, side=27), Crop(left=0, top=0, side=90),
        Crop(left=40, top=26, side=64), Crop(left=-35, top=-60, side=180),
        Crop(left=100, top=70, side=45),
        Crop(left=-8, top=30, side=77), Crop(left=129, top=89, side=1),
    ]  # fmt: skip
    batch = pack([sample_of(image, crop, 64, flipped=flipped) for crop in crops])
    for crop, found_SS3 in zip(crops, squares_of(batch), strict=True):
        expected = crop_image(image, crop, 64).permute(1, 2, 0).numpy().astype(int)
        expected = expected[:, ::-1] if flipped else expected
        assert np.abs(found_SS3 - expected).max() <= 1, crop
        assert np.abs(found_SS3 - expected).mean() < 0.3


def test_a_square_of_the_size_itself_is_not_touched() -> None:
    image = noise(64, 64)
    found = squares_of(pack([sample_of(image, Crop(left=0, top=0, side=64), 64)]))
    np.testing.assert_array_equal(found[0], image)


@pytest.mark.parametrize("flipped", [False, True])
def test_a_part_far_larger_than_its_square_is_reduced_before_it_travels(flipped: bool) -> None:
    image = noise(90, 90)
    sample = sample_of(image, Crop(left=0, top=0, side=90), 32, flipped=flipped)
    batch = pack([bounded(sample, image)])
    assert len(batch.pixels_P3) == 32 * 32
    np.testing.assert_array_equal(squares_of(batch)[0], sample.square())


@pytest.mark.parametrize("image", [0, 1])
def test_all_distortions_at_once_are_those_of_the_cpu(image: int) -> None:
    pixels_BSS3 = torch.from_numpy(np.stack([noise(20, 20, image)] * len(COLOURS)))
    pixels_BSS3[:, 0] = 77  # grey, which has no hue
    found = distort_batch(pixels_BSS3, *pack_distortions(COLOURS)).permute(0, 3, 1, 2)
    for pixels_SS3, distortion, result in zip(pixels_BSS3, COLOURS, found, strict=True):
        expected = distort(pixels_SS3.permute(2, 0, 1), distortion)
        torch.testing.assert_close(result, expected, rtol=0, atol=2e-6)  # 2.6e-4 grey levels


def test_samples_are_those_of_the_cpu_path(samples: TrainingSet) -> None:
    """Same crops, faces and colours; pixels to a grey level before the gains of the colours."""
    for epoch in range(4):
        drawn = [samples[epoch, index] for index in range(len(samples))]
        on_cpu, on_device = collate(drawn), pack(drawn)
        one, other = on_cpu.finish(), on_device.finish("cpu")
        assert other.shape == one.shape == (6, 3, 64, 64)
        assert other.is_contiguous(memory_format=torch.channels_last)
        for left, right in zip(on_cpu.faces, on_device.faces, strict=True):
            np.testing.assert_array_equal(left.boxes_N4, right.boxes_N4)
        squares = squares_of(on_device)
        apart = np.abs(squares - on_cpu.pixels_B3SS.permute(0, 2, 3, 1).numpy().astype(int))
        assert apart.max() <= 1
        same = on_cpu._replace(
            pixels_B3SS=torch.from_numpy(squares).to(torch.uint8).permute(0, 3, 1, 2)
        )
        torch.testing.assert_close(other, same.finish(), rtol=0, atol=4e-6)
        assert (one - other).abs().mean() < 0.5 / 128


def test_a_loader_gives_the_same_faces_and_nearly_the_same_images(samples: TrainingSet) -> None:
    cpu = TrainingLoader(samples, batch_size=4)
    device = TrainingLoader(samples, batch_size=4, on_device=True, workers=1)
    for epoch in (0, 1):
        for one, other in zip(cpu.batches(epoch), device.batches(epoch), strict=True):
            assert one[0].shape == other[0].shape
            assert (one[0] - other[0]).abs().mean() < 0.5 / 128
            for left, right in zip(one[1], other[1], strict=True):
                np.testing.assert_array_equal(left.boxes_N4, right.boxes_N4)


def test_a_broken_image_is_named_on_this_path_too(samples: TrainingSet, tmp_path: Path) -> None:
    (tmp_path / "train/images/2.png").write_bytes(b"broken")
    batch = pack([samples[0, index] for index in range(6)])
    assert len(batch.broken) == 1
    assert "2.png" in batch.broken[0]


def test_crops_of_the_reference_show_the_same_part_on_both_paths(golden_dir: Path) -> None:
    with np.load(golden_dir / "crop_stats.npz") as stored:
        rows, image_hw = stored["crop_rows"], stored["image_hw"]
        boxes = {number: stored[f"boxes_{number}"] for number in np.unique(rows[:, 0])}
    shades: dict[int, Image] = {}
    for number, side, left, top, kept, _ in rows[:: max(1, len(rows) // 40)]:
        height, width = (int(length) for length in image_hw[number])
        image = shades.setdefault(number, noise(height, width, int(number)))
        crop = Crop(left=int(left), top=int(top), side=int(side))
        faces = crop_faces(Faces.of_boxes(boxes[number]), crop, 96, clip=False)
        assert len(faces) == kept
        batch = pack([sample_of(image, crop, 96)])
        expected = crop_image(image, crop, 96).permute(1, 2, 0).numpy().astype(int)
        assert np.abs(squares_of(batch)[0] - expected).max() <= 1


def test_flips_of_the_cpu_path_are_those_of_this_one(samples: TrainingSet) -> None:
    mirrored = TrainingSet(
        samples.dataset, image_size=64, seed=0, augmentation=Augmentation(flip=1.0)
    )
    drawn = [mirrored[0, index] for index in range(6)]
    assert all(sample.flipped for sample in drawn)
    apart = squares_of(pack(drawn)) - np.stack([sample.square() for sample in drawn]).astype(int)
    assert np.abs(apart).max() <= 1
