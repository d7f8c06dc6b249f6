"""FLOPs of a candidate as fvcore counts them on the real torch network.

This is the referee: `search_spaces.cost.detector` must agree with it to the integer. It
shares nothing with the closed form: the layers are those that the network's own forward calls.
"""

import torch

from nas.candidates.call_counting import OUTSIDE, FlopsError, count_parts
from search_spaces.architecture import Architecture
from search_spaces.cost import detector as cost
from search_spaces.errors import ConfigError
from search_spaces.network.detector import Detector

# The smallest size whose every halving is exact and whose C5 has two cells (GroupNorm needs them).
_SMALL_IMAGE = (32, 64)
_SCOPES = {
    "stem": "backbone.stem",
    **{stage: f"backbone.{stage}" for stage in ("c2", "c3", "c4", "c5")},
    "neck": "neck",
    "head": "head",
}


def count_flops(architecture: Architecture, height: int = 480, width: int = 640) -> dict[str, int]:
    """Multiply-adds of each of `search_spaces.cost.detector.PARTS` for one image, by fvcore.

    Where height and width are multiples of 32 and 64, an image of 32 x 64 is counted and its
    counts are multiplied: every feature map then has exactly that many times the cells,
    and all that is counted costs the same for each cell.

    Raises:
        ConfigError: the image size is not positive.
        FlopsError: the network uses an operator that fvcore does not know and that is not
            one of `FREE_OPERATORS`, or computes something outside the parts.
    """
    if height < 1 or width < 1:
        raise ConfigError(f"an image has positive height and width, got {height} x {width}")
    small_height, small_width = _SMALL_IMAGE
    times = 1
    if height % small_height == 0 and width % small_width == 0:
        times = (height // small_height) * (width // small_width)
        height, width = _SMALL_IMAGE
    with torch.device("meta"):  # shapes only: no weight is drawn, no memory taken
        detector = Detector(architecture).eval()
    counts = count_parts(detector, (height, width), _SCOPES)
    if counts[OUTSIDE]:
        raise FlopsError(
            f"{architecture.name or 'the architecture'} has {times * counts[OUTSIDE]} FLOPs "
            f"outside of {', '.join(_SCOPES)}"
        )
    return {part: times * counts[part] for part in _SCOPES}


def confirm_flops(architecture: Architecture, height: int = 480, width: int = 640) -> int:
    """Total multiply-adds, counted by fvcore and checked against the closed form.

    Raises:
        FlopsError: the two differ in any part (a fault of this program), or see `count_flops`.
    """
    counted = count_flops(architecture, height, width)
    predicted = cost.flops_by_part(architecture, height, width)
    if counted != predicted:
        raise FlopsError(
            f"the closed form of {architecture.name or 'the architecture'} says {predicted}, "
            f"but fvcore counts {counted}; please report this"
        )
    return sum(counted.values())
