"""Count the FLOPs of a candidate with fvcore on its torch network.

The count is independent of the closed form in `search_spaces.cost.detector`, which must agree
with it to the integer in every part.
"""

import warnings

import torch
from torch import nn

from search_spaces.architecture import Architecture
from search_spaces.cost import detector as cost
from search_spaces.cost.constraints import Window
from search_spaces.errors import ConfigError, ScrfdNasError
from search_spaces.network.detector import Detector

# Operators without a counter in fvcore that its convention takes as free: residual and pyramid
# sums, the level scale, pooling.
FREE_OPERATORS = ("aten::add", "aten::add_", "aten::mul", "aten::max_pool2d", "aten::avg_pool2d")
# Every stride divides this image, and C5 has more than one cell.
_SMALL_IMAGE = (32, 64)
_MODULES = {
    "stem": "backbone.stem",
    **{stage: f"backbone.{stage}" for stage in ("c2", "c3", "c4", "c5")},
    "neck": "neck",
    "head": "head",
}


class FlopsError(ScrfdNasError):
    """FLOPs cannot be counted, or two ways of counting them disagree."""


def count_flops(architecture: Architecture, height: int = 480, width: int = 640) -> dict[str, int]:
    """Return fvcore's multiply-adds of each of `search_spaces.cost.detector.PARTS` for one image.

    Where 32 x 64 divides the image size, an image of 32 x 64 is counted and the counts are
    multiplied: every feature map of the larger image has exactly that many times the cells, and
    every counted operator costs the same for each cell.

    Raises:
        ConfigError: the image size is not positive.
        FlopsError: the network uses an operator that is neither known to fvcore nor one of
            `FREE_OPERATORS`, or computes something outside the parts.
    """
    if height < 1 or width < 1:
        raise ConfigError(f"an image has positive height and width, got {height} x {width}")
    times, size = 1, (height, width)
    if height % _SMALL_IMAGE[0] == 0 and width % _SMALL_IMAGE[1] == 0:
        times = (height // _SMALL_IMAGE[0]) * (width // _SMALL_IMAGE[1])
        size = _SMALL_IMAGE
    with torch.device("meta"):  # torch's own initialization would draw global random numbers
        detector = Detector(architecture)
    counts = count_by_module(detector.to_empty(device="cpu").eval(), size)
    parts = {part: times * counts[module] for part, module in _MODULES.items()}
    outside = times * counts[""] - sum(parts.values())
    if outside:
        name = architecture.name or "the architecture"
        raise FlopsError(f"{name} has {outside} FLOPs outside of {', '.join(parts)}")
    return parts


def confirm_flops(architecture: Architecture, height: int = 480, width: int = 640) -> int:
    """Return fvcore's total of multiply-adds after checking it against the closed form.

    Raises:
        FlopsError: the two differ in any part (a bug in this program), or see `count_flops`.
    """
    counted = count_flops(architecture, height, width)
    predicted = cost.flops_by_part(architecture, height, width)
    if counted != predicted:
        raise FlopsError(
            f"the closed form of {architecture.name or 'the architecture'} says {predicted}, "
            f"but fvcore counts {counted}; please report this"
        )
    return sum(counted.values())


def confirm_within(architecture: Architecture, window: Window) -> None:
    """Confirm a sampled candidate: fvcore's total must be in `window` (least, greatest FLOPs).

    Raises:
        FlopsError: it is not (a bug in this program), or see `confirm_flops`.
    """
    counted = confirm_flops(architecture)
    if not window[0] <= counted <= window[1]:
        raise FlopsError(
            f"a candidate has {counted} FLOPs, outside of {window[0]} to {window[1]}; "
            "this is a bug, please report it"
        )


def count_by_module(model: nn.Module, image_size: tuple[int, int]) -> dict[str, int]:
    """Return fvcore's multiply-adds by the path of the submodule; `""` is the whole model.

    Args:
        model: on the CPU, in eval mode, for images (1, 3, height, width).
        image_size: height and width in pixels.

    Raises:
        FlopsError: an operator is neither known to fvcore nor one of `FREE_OPERATORS`.
    """
    with warnings.catch_warnings(), torch.no_grad():
        for category in (DeprecationWarning, FutureWarning):  # newer torch deprecates torch.jit
            warnings.filterwarnings("ignore", r"`torch\.jit\.", category)
        from fvcore.nn import FlopCountAnalysis

        analysis = FlopCountAnalysis(model, torch.zeros(1, 3, *image_size))
        analysis.unsupported_ops_warnings(False).uncalled_modules_warnings(False)
        analysis.set_op_handle(**dict.fromkeys(FREE_OPERATORS))
        counts = analysis.by_module()
        unknown = sorted(analysis.unsupported_ops())
    if unknown:
        raise FlopsError(
            f"fvcore cannot count {', '.join(unknown)}; give it a counter or declare it free"
        )
    return {name: int(count) for name, count in counts.items()}
