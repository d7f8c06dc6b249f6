"""Untrained networks and random images, the inputs of proxies."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from search_spaces.architecture import Architecture
from search_spaces.checks import require_integer
from search_spaces.errors import ConfigError, TrialError
from search_spaces.network.detector import Detector, build_detector
from search_spaces.network.layers import ResidualBlock

IMAGE_SIZE = 64  # C5 then has 2 x 2 cells, the fewest with a variance
LARGEST = 1024
_MULTIPLE = 32


@dataclass(frozen=True, kw_only=True)
class Probe:
    """Random inputs of a proxy; equal probes give equal scores.

    Attributes:
        seed: seed of weights and images.
        image_size: side of the square images in pixels, a multiple of 32 from 64 to 1024.
    """

    seed: int = 0
    image_size: int = IMAGE_SIZE

    def __post_init__(self) -> None:
        require_integer(self.seed, "the seed of a proxy", 0)
        size = require_integer(self.image_size, "a proxy's image size", IMAGE_SIZE, LARGEST)
        if size % _MULTIPLE:
            raise ConfigError(f"a proxy's image size must be a multiple of 32, got {size}")

    def generator(self, purpose: int) -> torch.Generator:
        """Return a stream of random numbers, a different one for each purpose (0: weights)."""
        return torch.Generator().manual_seed(1000 * self.seed + purpose)

    def images(self, batch: int, purpose: int = 1) -> Tensor:
        """Return standard normal images, (batch, 3, size, size), float32."""
        shape = (batch, 3, self.image_size, self.image_size)
        return torch.randn(shape, generator=self.generator(purpose))


def untrained(architecture: Architecture, probe: Probe) -> Detector:
    """Return the detector as initialised for training, but with active residual branches.

    Training initialises the last norm of a branch to zero, so that no signal passes it and
    the score would not depend on the branch.
    """
    detector = build_detector(architecture, probe.generator(0))
    for block in detector.modules():
        if isinstance(block, ResidualBlock):
            nn.init.ones_(block.last_norm.get_parameter("weight"))
    return detector


def finite(score: float, what: str) -> float:
    """Return `score` unchanged. Raises TrialError if it is infinite or NaN."""
    if not math.isfinite(score):
        raise TrialError(
            f"{what} of this network is {score}, not a finite number; its layers are too "
            "many or too narrow for this proxy, use another one such as params"
        )
    return score
