import math

import pytest
import torch
from tiny import make_architecture
from torch import nn

from search_spaces.errors import ConfigError
from search_spaces.network.detector import Detector, build_detector
from search_spaces.network.reference_keys import (
    UNUSED_REFERENCE_KEYS,
    from_reference,
    reference_key,
)
from search_spaces.zoo import load_zoo, zoo_names


def tiny(block="basic", **head):
    head = {"width": 16, "groups": 4, **head}
    return make_architecture(block, depths=(2, 1, 1, 2), widths=(8, 8, 16, 16), **head)


@pytest.mark.parametrize("name", zoo_names())
def test_names_shapes_and_types_equal_the_reference(name, reference_model):
    golden = reference_model(name)
    architecture = load_zoo(name)
    with torch.device("meta"):
        detector = Detector(architecture)
    ours = {
        reference_key(key, architecture): [list(value.shape), str(value.dtype).split(".")[1]]
        for key, value in detector.state_dict().items()
    }
    theirs = dict(golden["state_dict"])
    for key in UNUSED_REFERENCE_KEYS:
        theirs.pop(key)
    assert ours == theirs


def test_reference_weights_are_renamed_and_must_fit():
    architecture = tiny()
    state = build_detector(architecture).state_dict()
    reference = {reference_key(key, architecture): value for key, value in state.items()}
    assert len(reference) == len(state)
    reference["bbox_head.integral.project"] = torch.zeros(9)
    back = from_reference(reference, state, architecture)
    assert list(back) == list(state)
    assert all(back[key] is state[key] for key in state)
    removed = reference.pop("backbone.layer1.0.conv1.weight")
    with pytest.raises(ConfigError, match=r"1 keys missing .*layer1\.0\.conv1"):
        from_reference(reference, state, architecture)
    reference["backbone.layer1.0.conv1.weight"] = reference["backbone.layer9"] = removed
    with pytest.raises(ConfigError, match=r"1 left over .*layer9"):
        from_reference(reference, state, architecture)


@pytest.mark.parametrize(
    "key",
    ["", "x", "neck.0", "head.towers", "backbone.c9.0.conv.weight", "backbone.stem.0.pool.weight"],
)
def test_unknown_weight_names_are_refused(key):
    with pytest.raises(ConfigError, match="not the name of a weight"):
        reference_key(key, load_zoo("scrfd_2.5g"))


@pytest.mark.parametrize("block", ["basic", "bottleneck", "depthwise"])
@pytest.mark.parametrize("shared", [True, False])
@pytest.mark.parametrize("keypoints", [0, 5])
def test_output_shapes(block, shared, keypoints):
    architecture = tiny(block, shared=shared, keypoints=keypoints, depthwise=block == "depthwise")
    outputs = build_detector(architecture).eval()(torch.zeros(2, 3, 64, 96))
    assert (outputs.keypoints is None) == (keypoints == 0)
    kinds = ((outputs.scores, 2), (outputs.boxes, 8), (outputs.keypoints, 20))
    for values, channels in kinds[: 3 if keypoints else 2]:
        sizes = [(8, 12), (4, 6), (2, 3)]
        assert [tuple(x.shape) for x in values] == [(2, channels, *size) for size in sizes]


def test_level_scales_multiply_the_boxes_of_their_level_only():
    detector = build_detector(tiny()).eval()
    images = torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(3))
    with torch.no_grad():
        before = detector(images)
        detector.head.level_scales[1].fill_(3.0)
        after = detector(images)
    torch.testing.assert_close(after.boxes[1], 3 * before.boxes[1])
    for level in (0, 2):
        torch.testing.assert_close(after.boxes[level], before.boxes[level])
    torch.testing.assert_close(after.scores[1], before.scores[1])


# Initialisation


def test_untrained_scores_are_one_percent():
    detector = build_detector(tiny()).eval()
    for scores in detector(torch.zeros(1, 3, 64, 64)).scores:
        torch.testing.assert_close(
            scores.sigmoid(), torch.full_like(scores, 0.01), rtol=0.2, atol=0
        )
    assert detector.head.scores[0].bias.tolist() == pytest.approx([-4.595, -4.595], abs=5e-4)


def test_only_last_norms_of_residual_blocks_are_zero():
    detector = build_detector(tiny())
    zero = [
        name
        for name, module in detector.named_modules()
        if isinstance(module, nn.BatchNorm2d) and not module.weight.any()
    ]
    blocks = ["c2.0", "c2.1", "c3.0", "c4.0", "c5.0", "c5.1"]
    assert zero == [f"backbone.{block}.branch.1.norm" for block in blocks]


def test_weight_scales_of_the_three_parts():
    detector = build_detector(load_zoo("resnet_2.5g"))
    conv = detector.backbone.c5[1].branch[0].conv.weight  # 128 x 128 x 3 x 3
    assert conv.std().item() == pytest.approx(math.sqrt(2 / (128 * 9)), rel=0.02)
    lateral = detector.neck.laterals[2].weight  # 48 x 128 x 1 x 1
    bound = math.sqrt(6 / (48 + 128))
    assert bound * 0.99 < lateral.abs().max().item() <= bound
    for weight in (detector.head.towers[0][0].conv.weight, detector.head.boxes[0].weight):
        assert weight.std().item() == pytest.approx(0.01, rel=0.05)


def test_biases_are_zero_except_those_of_the_scores():
    detector = build_detector(tiny())
    biased = {
        name
        for name, module in detector.named_modules()
        if isinstance(module, nn.Conv2d) and module.bias is not None and module.bias.any()
    }
    assert biased == {"head.scores.0"}


def test_reset_parameters_depends_on_the_seed_only():
    fresh = build_detector(tiny(), torch.Generator().manual_seed(5))
    used = build_detector(tiny(), torch.Generator().manual_seed(6))
    stem = [detector.backbone.stem[0].conv.weight for detector in (fresh, used)]
    assert not torch.equal(*stem)
    with torch.no_grad():
        for value in used.state_dict().values():
            value.fill_(7)
    used.reset_parameters(torch.Generator().manual_seed(5))
    assert all(torch.equal(a, used.state_dict()[k]) for k, a in fresh.state_dict().items())


def test_building_keeps_the_global_random_state():
    before = torch.get_rng_state()
    build_detector(tiny())
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("name", ["scrfd_0.5g", "scrfd_2.5g_kps"])
def test_every_weight_is_finite_and_has_a_gradient(name):
    detector = build_detector(load_zoo(name)).train()
    images = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    outputs = detector(images)
    levels = [*outputs.scores, *outputs.boxes, *(outputs.keypoints or [])]
    torch.stack([x.square().mean() for x in levels]).sum().backward()
    for parameter in detector.parameters():
        assert parameter.isfinite().all()
        assert parameter.grad is not None
        assert parameter.grad.isfinite().all()
