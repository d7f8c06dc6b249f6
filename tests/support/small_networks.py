"""Small networks that cover the kinds of blocks, heads and norms."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from search_spaces.architecture import Architecture, Backbone, Head, Neck
from search_spaces.network.detector import Detector, build_detector

STAGES = {"depths": (1, 2, 1, 1), "widths": (8, 8, 16, 16)}
ARCHITECTURES = {
    "mobile": Architecture(
        backbone=Backbone(block="depthwise", stem_widths=(8, 16), **STAGES),
        neck=Neck(width=8),
        head=Head(convs=2, width=16, depthwise=True, groups=4),
    ),
    "basic": Architecture(
        backbone=Backbone(block="basic", stem_widths=(8,), **STAGES),
        neck=Neck(width=8),
        head=Head(convs=1, width=16, norm="batch", shared=False, keypoints=5),
    ),
    "bottleneck": Architecture(
        backbone=Backbone(block="bottleneck", stem_widths=(8,), **STAGES),
        neck=Neck(width=24),
        head=Head(convs=3, width=16, groups=2, level_scales=False),
    ),
}


def randomised(name: str, seed: int = 0) -> Detector:
    """Return a detector none of whose numbers has a neutral value, in evaluation mode."""
    detector = build_detector(ARCHITECTURES[name]).eval()
    generator = torch.Generator().manual_seed(seed)
    for key, value in detector.state_dict().items():
        if "running_var" in key or "scale" in key or (".norm." in key and "weight" in key):
            value.copy_(torch.rand(value.shape, generator=generator) + 0.5)
        elif value.is_floating_point():
            fan_in = max(1, value[0].numel()) if value.ndim == 4 else 25
            value.copy_(torch.randn(value.shape, generator=generator) / fan_in**0.5)
    return detector


def noise(*shape: int) -> torch.Tensor:
    """Return the same normally distributed numbers in every test."""
    return torch.randn(*shape, generator=torch.Generator().manual_seed(7))


@contextmanager
def unchanged(detector: Detector) -> Iterator[None]:
    """Assert that the block leaves the mode and all numbers of a detector as they are."""
    mode, before = detector.training, {k: v.clone() for k, v in detector.state_dict().items()}
    yield
    assert detector.training == mode
    after = detector.state_dict()
    assert list(after) == list(before)
    assert all(torch.equal(after[name], value) for name, value in before.items())
