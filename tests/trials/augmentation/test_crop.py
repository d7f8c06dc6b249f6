"""Random square crops, their faces, and the crops of the reference."""

from pathlib import Path

import numpy as np
import pytest

from trials.augmentation.crop import (
    CANVAS,
    Crop,
    box_centers,
    crop_faces,
    draw_crop,
    flip_faces,
)
from trials.data.labels import Faces
from trials.recipe import CROP_SCALES, Recipe

NO_CENTERS = np.zeros((0, 2), np.float32)


def centers(*points: tuple[float, float]) -> np.ndarray:
    return np.array(points, np.float32).reshape(-1, 2)


def faces_with_keypoints() -> Faces:
    faces = Faces.of_boxes([[10, 20, 30, 60], [80, 10, 100, 30]])
    faces.keypoints_N53[0] = [[12, 30, 0], [28, 30, 1], [20, 40, 0], [-1, -1, -1], [26, 50, 0]]
    return faces


@pytest.mark.parametrize(("scale", "side", "lefts"), [(0.3, 3, range(7)), (2.0, 20, range(-10, 0))])
def test_offsets_never_reach_the_upper_end(scale: float, side: int, lefts: range) -> None:
    rng = np.random.default_rng(0)
    recipe = Recipe(crop_scales=(scale,))
    crops = [draw_crop((10, 10), NO_CENTERS, recipe, rng) for _ in range(500)]
    assert {crop.side for crop in crops} == {side}
    assert {crop.left for crop in crops} == set(lefts)
    assert {crop.top for crop in crops} == set(lefts)


def test_drawing_ends_if_no_crop_holds_a_centre() -> None:
    rng = np.random.default_rng(0)
    crop = draw_crop((100, 100), centers((500, 500)), Recipe(), rng)
    assert 30 <= crop.side <= 200


def test_crop_probabilities_choose_the_scales() -> None:
    rng = np.random.default_rng(0)
    recipe = Recipe(crop_scales=(0.5, 1.0, 2.0), crop_weights=(0.2, 0.0, 0.8))
    sides = [draw_crop((10, 10), NO_CENTERS, recipe, rng).side for _ in range(1000)]
    assert set(sides) == {5, 20}
    assert 150 < sides.count(5) < 250  # 200 expected, standard deviation 13


def test_a_crop_has_at_least_one_pixel() -> None:
    crop = draw_crop((1, 3), NO_CENTERS, Recipe(crop_scales=(0.3,)), np.random.default_rng(0))
    assert crop.side == 1


def test_faces_are_shifted_scaled_and_clipped_by_hand() -> None:
    crop = Crop(left=15, top=30, side=20)  # holds the first face's centre, (20, 40)
    cut = crop_faces(faces_with_keypoints(), crop, 40, clip=True)
    assert cut.boxes_N4.tolist() == [[0, 0, 30, 40]]
    whole = crop_faces(faces_with_keypoints(), crop, 40, clip=False)
    assert whole.boxes_N4.tolist() == [[-10, -20, 30, 60]]
    assert whole.keypoints_N53[0].tolist() == [
        [-6, 0, 0], [26, 0, 1], [10, 20, 0], [-1, -1, -1], [22, 40, 0],
    ]  # fmt: skip


def test_a_centre_on_the_edge_of_the_crop_is_outside() -> None:
    faces = Faces.of_boxes([[0, 0, 20, 20]])
    assert len(crop_faces(faces, Crop(left=10, top=0, side=20), 20, clip=True)) == 0
    assert len(crop_faces(faces, Crop(left=9, top=0, side=20), 20, clip=True)) == 1
    assert len(crop_faces(faces, Crop(left=-10, top=0, side=20), 20, clip=True)) == 0


def test_flip_swaps_sides_and_leaves_missing_points_alone() -> None:
    flipped = flip_faces(faces_with_keypoints(), 100)
    assert flipped.boxes_N4.tolist() == [[70, 20, 90, 60], [0, 10, 20, 30]]
    assert flipped.keypoints_N53[0].tolist() == [
        [72, 30, 1], [88, 30, 0], [80, 40, 0], [74, 50, 0], [-1, -1, -1],
    ]  # fmt: skip
    again = flip_faces(flipped, 100)
    np.testing.assert_array_equal(again.boxes_N4, faces_with_keypoints().boxes_N4)
    np.testing.assert_array_equal(again.keypoints_N53, faces_with_keypoints().keypoints_N53)


@pytest.fixture(scope="module")
def golden(golden_dir: Path) -> dict[str, np.ndarray]:
    with np.load(golden_dir / "crop_stats.npz") as stored:
        return dict(stored.items())


def test_crops_of_the_reference_keep_the_same_faces_at_the_same_size(
    golden: dict[str, np.ndarray],
) -> None:
    offsets = golden["kept_offsets"]
    for row, (image, side, left, top, kept, total) in enumerate(golden["crop_rows"]):
        faces = Faces.of_boxes(golden[f"boxes_{image}"])
        assert len(faces) == total
        crop = Crop(left=int(left), top=int(top), side=int(side))
        found = crop_faces(faces, crop, 640, clip=False)
        assert len(found) == kept
        sizes = found.boxes_N4[:, 2:] - found.boxes_N4[:, :2]
        expected = golden["kept_wh"][offsets[row] : offsets[row + 1]]
        np.testing.assert_allclose(sizes, expected, rtol=1e-4, atol=2e-3)


def test_crops_have_the_distribution_of_the_reference(golden: dict[str, np.ndarray]) -> None:
    rng = np.random.default_rng(0)
    rows = golden["crop_rows"]
    ours = []
    for image in np.unique(rows[:, 0]):
        height, width = golden["image_hw"][image]
        points = box_centers(np.asarray(golden[f"boxes_{image}"], np.float32))
        faces = Faces.of_boxes(golden[f"boxes_{image}"])
        for _ in range(int((rows[:, 0] == image).sum())):
            crop = draw_crop((int(height), int(width)), points, Recipe(), rng)
            kept = len(crop_faces(faces, crop, 640, clip=False))
            ours.append((image, crop.side, crop.left, crop.top, kept, len(faces)))
    _compare(np.array(ours), rows, golden["image_hw"])


def _compare(ours: np.ndarray, rows: np.ndarray, image_hw: np.ndarray) -> None:
    """Two-sample Kolmogorov-Smirnov tests of side, offsets and share of faces kept."""
    from scipy.stats import ks_2samp

    for name, column in (("side", 1), ("left", 2), ("top", 3)):
        scale = [image_hw[sample[:, 0]].min(axis=1) for sample in (ours, rows)]
        result = ks_2samp(ours[:, column] / scale[0], rows[:, column] / scale[1])
        assert result.pvalue > 0.01, name
    assert ks_2samp(ours[:, 4] / ours[:, 5], rows[:, 4] / rows[:, 5]).pvalue > 0.01


def test_scales_and_canvas_are_those_of_the_reference(golden: dict[str, np.ndarray]) -> None:
    assert sorted(set(golden["crop_ratio"].round(6))) == sorted(CROP_SCALES)
    assert golden["pad_values"].tolist() == [CANVAS]
