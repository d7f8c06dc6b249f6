import numpy as np
import pytest
import torch

from search_spaces.errors import ConfigError
from trials.detection.anchors import (
    ANCHOR_SIZES,
    STRIDES,
    anchors_for,
    anchors_for_grids,
    grids_for,
)


def test_vga_square_has_16800_anchors():
    anchors = anchors_for(640, 640)
    assert len(anchors) == 16800
    assert anchors.level_sizes == (12800, 3200, 800)
    assert anchors.level_starts == (0, 12800, 16000)


def test_cells_go_along_the_row_first():
    anchors = anchors_for(64, 96)
    columns = 96 // 8
    index = (3 * columns + 5) * 2 + 1
    assert anchors.centers_A2[index].tolist() == [5 * 8, 3 * 8]
    assert anchors.boxes_A4[index].tolist() == [24, 8, 56, 40]


def test_every_level_has_its_stride_and_sizes():
    anchors = anchors_for(96, 160)
    for level, (stride, sizes) in enumerate(zip(STRIDES, ANCHOR_SIZES, strict=True)):
        chosen = anchors.levels_A == level
        assert anchors.strides_A[chosen].unique().tolist() == [stride]
        widths = anchors.boxes_A4[chosen, 2] - anchors.boxes_A4[chosen, 0]
        assert widths.unique().tolist() == list(sizes)


def test_sizes_that_no_stride_divides_are_rounded_up():
    assert grids_for(152, 200) == ((19, 25), (10, 13), (5, 7))


def test_same_size_is_computed_once():
    assert anchors_for(64, 64) is anchors_for_grids([(8, 8), (4, 4), (2, 2)])


def test_anchors_made_in_inference_mode_take_part_in_training():
    with torch.inference_mode():
        anchors = anchors_for(40, 72)
    weight = torch.ones(1, requires_grad=True)
    (anchors.boxes_A4 * weight).sum().backward()
    assert weight.grad is not None


def test_empty_input_and_grids_that_do_not_match_the_strides_are_refused():
    for size in ((0, 640), (640, -1)):
        with pytest.raises(ConfigError, match="at least 1x1 pixels"):
            anchors_for(*size)
    with pytest.raises(ConfigError, match=r"one grid .* for each stride"):
        anchors_for_grids([(8, 8), (4, 4)])
    with pytest.raises(ConfigError, match="at least 1x1 cells"):
        anchors_for_grids([(8, 8), (4, 4), (0, 2)])


@pytest.mark.parametrize("size", [(640, 640), (480, 640)])
def test_anchors_equal_the_reference(golden_dir, size):
    golden = np.load(golden_dir / "anchors.npz")
    anchors = anchors_for(*size)
    expected = [golden[f"anchors_{size[0]}x{size[1]}_s{stride}"] for stride in STRIDES]
    np.testing.assert_array_equal(anchors.boxes_A4.numpy(), np.concatenate(expected))
