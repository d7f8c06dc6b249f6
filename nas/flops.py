"""FLOPs of a candidate as fvcore counts them on the real torch network.

This is the referee: `search_spaces.cost` must agree with it to the integer.
"""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from search_spaces import cost
from search_spaces.architecture import Architecture
from search_spaces.errors import ConfigError, ScrfdNasError
from search_spaces.network.detector import Detector

# Operators that fvcore cannot count and that the field's convention (REFERENCE facts,
# section 2) takes as free: residual and pyramid sums, the level scale, pooling.
FREE_OPERATORS = ("aten::add", "aten::add_", "aten::mul", "aten::max_pool2d", "aten::avg_pool2d")
# The smallest size whose every halving is exact and whose C5 has two cells (GroupNorm needs them).
_SMALL_IMAGE = (32, 64)
_SCOPES = {
    "stem": "backbone.stem",
    **{stage: f"backbone.{stage}" for stage in ("c2", "c3", "c4", "c5")},
    "neck": "neck",
    "head": "head",
}


class FlopsError(ScrfdNasError):
    """FLOPs cannot be counted, or two ways of counting them disagree."""


def count_flops(architecture: Architecture, height: int = 480, width: int = 640) -> dict[str, int]:
    """Multiply-adds of each of `search_spaces.cost.PARTS` for one image, by fvcore.

    Where height and width are multiples of 32 and 64, the trace is of an image of 32 x 64 and
    its counts are multiplied: every feature map then has exactly that many times the cells,
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
    counts = count_modules(_blank_detector(architecture), torch.zeros(1, 3, height, width))
    parts = {part: times * counts[scope] for part, scope in _SCOPES.items()}
    if sum(parts.values()) != times * counts[""]:
        raise FlopsError(
            f"the parts of {architecture.name or 'the architecture'} have "
            f"{sum(parts.values())} FLOPs together, but the network has {times * counts['']}"
        )
    return parts


def _blank_detector(architecture: Architecture) -> Detector:
    """The network with zero weights: quick to make, and no random number is drawn."""
    with torch.device("meta"):
        detector = Detector(architecture)
    detector.to_empty(device="cpu")
    for tensor in detector.state_dict().values():
        tensor.zero_()
    return detector


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


def count_modules(model: nn.Module, images: Tensor) -> dict[str, int]:
    """fvcore's multiply-adds in eval mode of every module of `model` by name; "" is the whole.

    The model is put into eval mode.

    Raises:
        FlopsError: an operator is neither known to fvcore nor one of `FREE_OPERATORS`.
    """
    flat = _Flat(model.eval())
    with _quiet_torch_jit(), torch.no_grad():
        from fvcore.nn import FlopCountAnalysis

        analysis: Any = FlopCountAnalysis(flat, images)
        analysis.unsupported_ops_warnings(False).uncalled_modules_warnings(False)
        analysis.set_op_handle(**dict.fromkeys(FREE_OPERATORS))
        counts = analysis.by_module()
    unknown = sorted(analysis.unsupported_ops())
    if unknown:
        raise FlopsError(
            f"fvcore cannot count {', '.join(unknown)}; give it a counter or declare it free"
        )
    prefix = "model."
    inner = {name.removeprefix(prefix): int(n) for name, n in counts.items() if name != "model"}
    return {**inner, "": int(counts[""])}


class _Flat(nn.Module):
    """A model whose output is a flat tuple of tensors, which is all that a trace can return."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        return tuple(_tensors(self.model(images)))


def _tensors(output: Any) -> Iterator[Tensor]:
    """All tensors in nested tuples and lists."""
    if isinstance(output, Tensor):
        yield output
    elif isinstance(output, tuple | list):
        for item in output:
            yield from _tensors(item)


@contextmanager
def _quiet_torch_jit() -> Iterator[None]:
    """Silence that fvcore leans on torch.jit, which newer torch deprecates."""
    with warnings.catch_warnings():
        for category in (DeprecationWarning, FutureWarning):
            warnings.filterwarnings("ignore", r"`torch\.jit\.", category)
        yield
