import pytest
import torch
from small_networks import unchanged
from torch import nn

from search_spaces.network.detector import Detector, build_detector
from search_spaces.zoo import load_zoo
from trials.detection.folding import folded


def used_detector(name: str) -> Detector:
    """Return a detector whose norms all have different statistics and factors."""
    generator = torch.Generator().manual_seed(1)
    detector = build_detector(load_zoo(name), generator)
    for module in detector.modules():
        if isinstance(module, nn.BatchNorm2d):
            for values, low in ((module.weight, 0.5), (module.bias, -0.5)):
                nn.init.uniform_(values, low, low + 1, generator=generator)
            for buffer, low in (("running_mean", -0.5), ("running_var", 0.5)):
                nn.init.uniform_(module.get_buffer(buffer), low, low + 1, generator=generator)
    return detector


@pytest.mark.parametrize("name", ["scrfd_0.5g", "scrfd_2.5g", "scrfd_34g"])
def test_a_folded_detector_gives_the_same_outputs(name: str) -> None:
    detector = used_detector(name)
    images = torch.randn(2, 3, 64, 96, generator=torch.Generator().manual_seed(2))
    with torch.inference_mode():
        expected = detector.eval()(images)
        found = folded(detector)(images)
    for one, two in zip(
        [*found.scores, *found.boxes], [*expected.scores, *expected.boxes], strict=True
    ):
        torch.testing.assert_close(one, two, rtol=1e-4, atol=1e-4)


def test_only_group_norms_are_left_and_the_detector_stays_unchanged() -> None:
    detector = used_detector("scrfd_2.5g").train()
    with unchanged(detector):
        kinds = {type(module) for module in folded(detector).modules()}
    assert nn.BatchNorm2d not in kinds
    assert nn.GroupNorm in kinds
    assert all(parameter.requires_grad for parameter in detector.parameters())
