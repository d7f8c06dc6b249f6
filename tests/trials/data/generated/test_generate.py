"""The generated data set: faultless, reproducible, and with faces as described."""

from pathlib import Path

import numpy as np
import pytest

from search_spaces.errors import ConfigError
from trials.data.check import check
from trials.data.dataset import FaceDataset
from trials.data.generated.generate import generate
from trials.data.generated.pictures import draw_picture
from trials.data.images import read_image
from trials.data.widerface_mat import read_ground_truth


@pytest.fixture(scope="module")
def generated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("generated")
    generate(root, num_train=12, num_val=8, seed=3)
    return root


def all_bytes(root: Path) -> dict[str, bytes]:
    files = sorted(path for path in root.rglob("*") if path.is_file())
    return {path.relative_to(root).as_posix(): path.read_bytes() for path in files}


def test_generated_set_has_no_fault(generated: Path) -> None:
    report = check(generated)
    assert report.faults == ()
    assert (report.splits["train"].images, report.splits["val"].images) == (12, 8)
    assert report.splits["train"].with_keypoints == report.splits["train"].faces > 12


def test_same_seed_gives_the_same_bytes_and_another_seed_does_not(
    generated: Path, tmp_path: Path
) -> None:
    generate(tmp_path / "again", num_train=12, num_val=8, seed=3)
    assert all_bytes(tmp_path / "again") == all_bytes(generated)
    generate(tmp_path / "other", num_train=1, num_val=1, seed=4)
    name = "train/images/0--Crowd/train_000000.jpg"
    assert all_bytes(tmp_path / "other")[name] != all_bytes(generated)[name]


def test_images_all_differ_and_do_not_depend_on_how_many_are_drawn(
    generated: Path, tmp_path: Path
) -> None:
    generate(tmp_path / "few", num_train=2, num_val=1, seed=3)
    few, many = (
        {name: content for name, content in all_bytes(root).items() if name.endswith(".jpg")}
        for root in (tmp_path / "few", generated)
    )
    assert (len(few), len(many), len(set(many.values()))) == (3, 20, 20)
    assert all(content == many[name] for name, content in few.items())


def test_key_points_are_in_their_boxes_and_in_order(generated: Path) -> None:
    for image in FaceDataset(generated, "train").images:
        boxes, points = image.faces.boxes_N4, image.faces.keypoints_N53[:, :, :2]
        assert (points >= boxes[:, None, :2] - 0.2).all()
        assert (points <= boxes[:, None, 2:] + 0.2).all()
        left_eye, right_eye, _, left_mouth, right_mouth = points.transpose(1, 0, 2)
        assert (left_eye[:, 0] < right_eye[:, 0]).all()
        assert ((left_eye + right_eye)[:, 1] < (left_mouth + right_mouth)[:, 1]).all()


def test_ground_truth_subsets_follow_the_height(generated: Path) -> None:
    truth = read_ground_truth(generated / "val/gt")
    heights = truth.boxes_F4[:, 3]
    expected = np.stack([heights >= least for least in (32, 16, 8)], axis=1)
    np.testing.assert_array_equal(truth.counted_F3, expected)
    assert 0 < truth.face_counts["easy"] < truth.face_counts["medium"] < truth.face_counts["hard"]


def test_an_existing_set_is_not_overwritten(generated: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="must be a new or empty folder"):
        generate(generated, num_train=1, num_val=1)
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match="must be a new or empty folder"):
        generate(tmp_path / "file", num_train=1, num_val=1)


def test_an_interrupted_call_leaves_nothing(generated: Path, tmp_path: Path) -> None:
    def stop(done: int, _total: int) -> None:
        if done == 15:
            raise KeyboardInterrupt

    root = tmp_path / "half"
    with pytest.raises(KeyboardInterrupt):
        generate(root, num_train=12, num_val=8, seed=3, progress=stop)
    assert list(tmp_path.iterdir()) == []
    root.mkdir()
    generate(root, num_train=12, num_val=8, seed=3)
    assert all_bytes(root) == all_bytes(generated)


@pytest.mark.parametrize(
    "options",
    [{"num_train": 0}, {"num_val": -1}, {"seed": -1}, {"long_side": (20, 90)},
     {"long_side": (300, 200)}, {"long_side": (300, 99_999)}],
)  # fmt: skip
def test_impossible_requests_are_refused(tmp_path: Path, options: dict[str, int]) -> None:
    with pytest.raises(ConfigError, match="got"):
        generate(tmp_path / "out", **options)  # type: ignore[arg-type]
    assert not (tmp_path / "out").exists()


def test_long_sides_are_in_the_range(tmp_path: Path) -> None:
    generate(tmp_path / "s", num_train=6, num_val=2, long_side=(64, 70))
    for image in FaceDataset(tmp_path / "s", "train").images:
        assert 64 <= max(image.width, image.height) <= 70
        assert read_image(image.path).shape == (image.height, image.width, 3)


def test_a_crowd_has_more_and_smaller_faces() -> None:
    rng = np.random.default_rng(0)
    crowds, others = (
        np.concatenate([draw_picture(320, 240, crowd=c, rng=rng)[1].boxes_N4 for _ in range(10)])
        for c in (True, False)
    )
    assert len(crowds) > 2 * len(others)
    assert np.median(crowds[:, 3] - crowds[:, 1]) < np.median(others[:, 3] - others[:, 1])


def test_boxes_are_in_the_picture_and_hardly_overlap() -> None:
    for seed in range(10):
        rng = np.random.default_rng(seed)
        boxes = draw_picture(200, 150, crowd=True, rng=rng)[1].boxes_N4
        assert boxes.min() >= 0
        assert (boxes[:, 2:] <= (200, 150)).all()
        sides = np.minimum(boxes[:, None, 2:], boxes[:, 2:])
        sides = (sides - np.maximum(boxes[:, None, :2], boxes[:, :2])).clip(0)
        shared, areas = sides.prod(axis=2), (boxes[:, 2:] - boxes[:, :2]).prod(axis=1)
        np.fill_diagonal(shared, 0)
        assert (shared <= 0.151 * np.minimum(areas, areas[:, None])).all()


@pytest.mark.parametrize("seed", range(4))
def test_the_smallest_pictures_can_be_drawn(tmp_path: Path, seed: int) -> None:
    generate(tmp_path / "small", num_train=12, num_val=1, seed=seed, long_side=(64, 64))
    assert check(tmp_path / "small").faults == ()
