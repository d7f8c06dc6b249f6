"""Held-out training images: a fixed, nested part, with ground truth by the faces' heights."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from search_spaces.errors import ConfigError, DataError
from trials.data.dataset import FaceDataset
from trials.data.holdout import SUBSET_HEIGHTS, is_held_out, load_holdout, truth_by_height
from trials.data.labels import AnnotatedImage, Faces
from trials.data.widerface_mat import read_ground_truth
from trials.settings import format_select_on, parse_select_on

NAMES = [f"0--Parade/0_Parade_{number}.jpg" for number in range(4000)]


def image(name: str, heights: list[float], ignored: list[bool] | None = None) -> AnnotatedImage:
    faces = Faces.of_boxes([[10, 20, 40, 20 + height] for height in heights])
    faces.ignored_N[:] = ignored or [False] * len(heights)
    return AnnotatedImage(name=name, path=Path(name), width=99, height=99, faces=faces)


def test_the_share_is_met_and_depends_on_the_name_only() -> None:
    # 4000 draws at 0.1: 400 +- 4 standard deviations of 19.
    held = [name for name in NAMES if is_held_out(name, 0.1)]
    assert 324 < len(held) < 476
    # SHA-256 of `a` begins with ca978112ca1bbdca: 0.7914 of the way.
    assert not is_held_out("a", 0.7913)
    assert is_held_out("a", 0.7914)


def test_a_larger_share_holds_out_all_of_a_smaller_one() -> None:
    small, large = ({n for n in NAMES if is_held_out(n, share)} for share in (0.1, 0.3))
    assert small < large
    assert not any(is_held_out(name, 0.0) for name in NAMES)


@pytest.mark.parametrize(("text", "share"), [("val", 0.0), ("holdout:0.1", 0.1)])
def test_select_on_is_parsed_and_formatted(text: str, share: float) -> None:
    assert parse_select_on(text) == share
    assert format_select_on(share) == text
    assert format_select_on(parse_select_on("holdout:.10")) == "holdout:0.1"


@pytest.mark.parametrize(
    "text", ["", "test", "holdout", "holdout:", "holdout:x", "holdout:0", "holdout:0.6", 0.1, None]
)
def test_invalid_select_on_raises(text: Any) -> None:
    with pytest.raises(ConfigError, match="select_on must be val, or holdout:SHARE"):
        parse_select_on(text)


def test_faces_count_by_height_and_ignored_ones_nowhere() -> None:
    truth = truth_by_height(
        [
            image("e/0.jpg", [51, 50, 31, 30, 11, 10]),
            image("e/1.jpg", []),
            image("e/2.jpg", [60, 60, 0], [True, False, False]),
        ]
    )
    assert truth.names == ("e/0.jpg", "e/1.jpg", "e/2.jpg")
    assert truth.boxes(0)[0].tolist() == [10, 20, 30, 51]
    assert truth.counted(0).tolist() == [
        [True, True, True],
        [False, True, True],
        [False, True, True],
        [False, False, True],
        [False, False, True],
        [False, False, False],
    ]
    assert truth.boxes(1).shape == (0, 4)
    assert truth.counted(2).all(axis=1).tolist() == [False, True, False]


def write_labels(root: Path, height: int = 40) -> None:
    (root / "train").mkdir()
    lines = [f"# {name} 200 200\n10 20 50 {20 + height}\n" for name in NAMES[:100]]
    (root / "train" / "labelv2.txt").write_text("".join(lines))


def test_every_image_is_trained_on_or_held_out(tmp_path: Path) -> None:
    write_labels(tmp_path)
    truth, paths = load_holdout(tmp_path, 0.2)
    trained = [image.name for image in FaceDataset(tmp_path, "train", held_out=0.2).images]
    assert sorted([*truth.names, *trained]) == sorted(NAMES[:100])
    assert paths == [tmp_path / "train" / "images" / name for name in truth.names]
    assert len(FaceDataset(tmp_path, "train")) == 100
    assert truth.face_counts == {"easy": 0, "medium": len(paths), "hard": len(paths)}


@pytest.mark.parametrize(("share", "height"), [(0.2, 9), (1e-6, 40)])
def test_nothing_to_measure_is_an_error(tmp_path: Path, share: float, height: int) -> None:
    write_labels(tmp_path, height)
    with pytest.raises(DataError, match="held-out images: no face counts as hard"):
        load_holdout(tmp_path, share)


@pytest.mark.parametrize(("column", "agreement"), [(0, 0.9979), (1, 0.9941), (2, 0.9796)])
def test_the_heights_agree_with_the_official_lists(
    shared_dir: Path, column: int, agreement: float
) -> None:
    truth = read_ground_truth(shared_dir / "data" / "widerface_gt")
    by_height = truth.boxes_F4[:, 3] > SUBSET_HEIGHTS[column]
    official = truth.counted_F3[:, column]
    assert float((by_height == official).mean()) == pytest.approx(agreement, abs=1e-4)
    assert official[by_height].all()
    assert np.count_nonzero(official) == [7211, 13319, 31958][column]
