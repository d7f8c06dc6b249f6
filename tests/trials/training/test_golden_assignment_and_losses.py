"""Assignment, losses and gradients against the SCRFD reference and goldens of this program.

`heads_loss_*` were computed with torch.topk's own order among ties, `heads_losslow_*` with
the lowest index first, which is this project's rule. The losses are checked on both, each
with its own assignment; the assignment only on the second.
"""

import make_head_losses
import numpy as np
import pytest
import torch

from search_spaces.network.head import HeadOutputs
from trials.detection.anchors import STRIDES, anchors_for
from trials.training.assignment import assign_batch
from trials.training.losses import detection_loss, level_sums, normalise
from trials.training.targets import Targets

CASES = ("0_2.5g_1and30", "1_kps_1and30", "2_kps_0and4", "4x_kps_0and0")
EMPTY_CASE = "4x_kps_0and0"
# Labels that differ from torch.topk's order of ties, image by image, as the reference's own
# tie check (atss_tie_check.json, mode "low") counts them.
DIFFERENCES_BY_TIES = {
    "0_2.5g_1and30": [0, 16],
    "1_kps_1and30": [1, 12],
    "2_kps_0and4": [0, 2],
    "4x_kps_0and0": [0, 0],
}


def load_case(golden_dir, case, ties):
    inputs = dict(np.load(golden_dir / f"heads_loss_{case}.npz"))
    results = inputs if ties == "loss" else dict(np.load(golden_dir / f"heads_losslow_{case}.npz"))
    has_keypoints = "kps_pred_s8" in inputs

    def levels(name):
        return [torch.tensor(inputs[f"{name}_s{s}"], requires_grad=True) for s in STRIDES]

    head = HeadOutputs(
        levels("cls_score"), levels("bbox_pred"), levels("kps_pred") if has_keypoints else None
    )
    targets = [
        Targets(
            boxes_G4=torch.tensor(inputs[f"gt_bboxes_{image}"]),
            keypoints_G53=torch.tensor(inputs[f"gt_keypointss_{image}"]) if has_keypoints else None,
        )
        for image in range(2)
    ]
    return head, targets, results


@pytest.mark.parametrize("case", CASES)
def test_assignment_equals_the_reference(golden_dir, case):
    _, targets, low = load_case(golden_dir, case, "losslow")
    found = assign_batch(anchors_for(640, 640), [target.boxes_G4 for target in targets])
    np.testing.assert_array_equal(found.numpy(), low["assigned_gt_inds"])


@pytest.mark.parametrize("case", CASES)
def test_order_of_ties_explains_every_other_label(golden_dir, case):
    _, targets, original = load_case(golden_dir, case, "loss")
    found = assign_batch(anchors_for(640, 640), [target.boxes_G4 for target in targets])
    differences = (found.numpy() != original["assigned_gt_inds"]).sum(axis=1)
    assert differences.tolist() == DIFFERENCES_BY_TIES[case]


@pytest.mark.parametrize("ties", ["loss", "losslow"])
@pytest.mark.parametrize("case", CASES)
def test_sums_before_division_equal_the_reference(golden_dir, case, ties):
    head, targets, expected = load_case(golden_dir, case, ties)
    assigned = expected["assigned_gt_inds"]
    sums = level_sums(head, targets, torch.tensor(assigned))
    sums_by_level = expected["unnorm_loss_cls_bbox_dfl_kps_weightsum"]
    assert sums.num_samples.item() == expected["num_total_samples"]
    assert sums.num_positives == (assigned > 0).sum()
    assert_close(sums.box_L, sums_by_level[:, 1])
    assert_close(sums.score_weight_L, sums_by_level[:, 4])
    if head.keypoints:
        assert_close(sums.keypoint_L, sums_by_level[:, 3])
    qualities = np.concatenate([expected[f"qfl_score_s{s}"] for s in STRIDES], axis=1)
    assert_close(sums.qualities_P, qualities[assigned > 0])


@pytest.mark.parametrize("ties", ["loss", "losslow"])
@pytest.mark.parametrize("case", CASES)
def test_losses_equal_the_reference(golden_dir, case, ties):
    head, targets, expected = load_case(golden_dir, case, ties)
    terms = normalise(level_sums(head, targets, torch.tensor(expected["assigned_gt_inds"])))
    assert_close(terms.levels.cls_L, expected["loss_cls"])
    if case == EMPTY_CASE:  # 0 / 0 in the reference
        assert np.isnan(expected["loss_bbox"]).all()
        assert terms.total.item() == terms.cls.item()
        return
    assert_close(terms.levels.box_L, expected["loss_bbox"])
    if head.keypoints:
        assert_close(terms.levels.keypoint_L, expected["loss_kps"])
    assert_close(terms.total, expected["total_loss"])


@pytest.mark.parametrize("ties", ["loss", "losslow"])
@pytest.mark.parametrize("case", CASES)
def test_gradients_equal_the_reference(golden_dir, case, ties):
    head, targets, expected = load_case(golden_dir, case, ties)
    assigned = torch.tensor(expected["assigned_gt_inds"])
    normalise(level_sums(head, targets, assigned)).total.backward()
    for name, levels in (("cls", head.scores), ("bbox", head.boxes), ("kps", head.keypoints)):
        for stride, tensor in zip(STRIDES, levels or [], strict=False):
            gradient = expected[f"grad_{name}_s{stride}"]
            if case == EMPTY_CASE and name != "cls":  # NaN in the reference
                gradient = np.zeros_like(gradient)
            assert_close(tensor.grad, gradient)


def test_whole_loss_assigns_as_the_reference_with_low_ties(golden_dir):
    head, targets, expected = load_case(golden_dir, "1_kps_1and30", "losslow")
    assert_close(detection_loss(head, targets).total, expected["total_loss"])


# Goldens of this program: tests/golden/make_head_losses.py


with np.load(make_head_losses.OUT) as archive:
    OWN = {name: archive[name] for name in archive.files}


@pytest.mark.parametrize("case", make_head_losses.CASES)
def test_own_golden(case):
    golden = {name.split(".")[1]: value for name, value in OWN.items() if name.startswith(case)}
    found = make_head_losses.compute(golden)
    np.testing.assert_array_equal(found.pop("assigned"), golden["assigned"])
    for name, values in found.items():
        assert_close(torch.tensor(values), golden[name])


def assert_close(found, expected):
    """Assert equality to 1e-5 of each value, or 1e-7 of the largest where terms cancel."""
    values = found.detach().numpy().astype(np.float64)
    largest = float(np.abs(expected).max(initial=0))
    np.testing.assert_allclose(values, expected, rtol=1e-5, atol=1e-7 * largest)
