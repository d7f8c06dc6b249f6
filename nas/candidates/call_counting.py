"""fvcore's count of a network, taken once for each distinct call of a torch function.

The network's own forward runs on shapes alone (torch's meta device), and every torch
function that it calls is noted. A call that has not been met before, in this network or an
earlier one, is counted by `FlopCountAnalysis` on zeros of the same shapes; one that has been
met is remembered with its count and the shape of its result and does not even run. The key
is the function with all its arguments, tensors by their shapes, so nothing is assumed about
how networks are built, and nothing that a forward computes can escape.
"""

import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from search_spaces.errors import ScrfdNasError

# Operators that fvcore cannot count and that the field's convention (REFERENCE facts,
# section 2) takes as free: residual and pyramid sums, the level scale, pooling.
FREE_OPERATORS = ("aten::add", "aten::add_", "aten::mul", "aten::max_pool2d", "aten::avg_pool2d")
OUTSIDE = ""  # of all parts
MAX_REMEMBERED = 100_000  # calls, less than 200 MB


class FlopsError(ScrfdNasError):
    """FLOPs cannot be counted, or two ways of counting them disagree."""


def count_parts(
    model: nn.Module, image_size: tuple[int, int], parts: Mapping[str, str]
) -> dict[str, int]:
    """fvcore's multiply-adds of each part of `model`, and of all that is in none as `OUTSIDE`.

    Args:
        model: on the meta device, in eval mode, for images (1, 3, height, width).
        image_size: height and width.
        parts: name -> path of a submodule; none of them within another.

    Raises:
        FlopsError: an operator is neither known to fvcore nor one of `FREE_OPERATORS`.
    """
    if len(_remembered) > MAX_REMEMBERED:
        forget_counts()
    recorder = _Recorder()
    for part, path in parts.items():
        recorder.watch(model.get_submodule(path), part)
    with recorder, torch.no_grad():
        model(torch.zeros(1, 3, *image_size, device="meta"))
    _remember(recorder.unknown)
    counts = dict.fromkeys([*parts, OUTSIDE], 0)
    for part, key in recorder.calls:
        counts[part] += _remembered[key].flops
    return counts


def forget_counts() -> None:
    """Count every call anew from now on (to measure, or to test)."""
    _remembered.clear()


class _Known(NamedTuple):
    """A counted call: its multiply-adds, and its result with tensors on the meta device."""

    flops: int
    result: Any


@dataclass(frozen=True, kw_only=True)
class _Call:
    """A call as it was met. Its arguments lie on the meta device."""

    function: Callable[..., Any]
    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]

    @property
    def tensors(self) -> list[Tensor]:
        """All tensors among the arguments, in order."""
        return list(_tensors((self.args, tuple(self.kwargs.values()))))

    def zeros(self) -> list[Tensor]:
        """Zeros on the CPU in the shapes of `tensors`."""
        return [torch.zeros(tensor.shape) for tensor in self.tensors]

    def repeat(self, *tensors: Tensor) -> Any:
        """The same call with `tensors` in the places of its own, in order."""
        remaining = iter(tensors)

        def fill(_: Tensor) -> Tensor:
            return next(remaining)

        args = _mapped(fill, self.args)
        kwargs = {name: _mapped(fill, value) for name, value in self.kwargs.items()}
        return self.function(*args, **kwargs)


_Key = tuple[Any, ...]
_remembered: dict[_Key, _Known] = {}


class _Recorder(TorchFunctionMode):
    """Notes the calls of torch functions that give tensors, each with the part it lies in.

    Attributes:
        calls: (part, key) in the order of the calls.
        unknown: those whose count is not remembered, by key, and what they give.
    """

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[tuple[str, _Key]] = []
        self.unknown: dict[_Key, tuple[_Call, Any]] = {}
        self._part = OUTSIDE

    def watch(self, module: nn.Module, part: str) -> None:
        """Calls during the forward of `module` belong to `part`."""

        def enter(*_: Any) -> None:
            self._part = part

        def leave(*_: Any) -> None:
            self._part = OUTSIDE

        module.register_forward_pre_hook(enter)
        module.register_forward_hook(leave)

    def __torch_function__(
        self, function: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
        key = (function, _signature(args), _signature(kwargs))
        if known := _remembered.get(key):
            result = known.result
        elif key in self.unknown:
            result = self.unknown[key][1]
        else:  # torch's kernels tell shapes sooner than its meta device does
            call = _Call(function=function, args=args, kwargs=kwargs)
            result = _mapped(_shape_of, call.repeat(*call.zeros()))
            if not list(_tensors(result)):
                return function(*args, **kwargs)  # a question such as `x.shape`
            self.unknown[key] = (call, result)
        self.calls.append((self._part, key))
        return _mapped(_shape_of, result)  # a new one: some functions change what they are given


def _remember(met: Mapping[_Key, tuple[_Call, Any]]) -> None:
    """Count and keep these calls; those of this network are never forgotten before its sum."""
    counts = _count([call for call, _ in met.values()]) if met else []
    for (key, (_, result)), flops in zip(met.items(), counts, strict=True):
        _remembered[key] = _Known(flops=flops, result=result)


def _count(calls: list[_Call]) -> list[int]:
    """fvcore's multiply-adds of each call, all in one trace."""
    model = _Calls(calls)
    zeros = tuple(tensor for call in calls for tensor in call.zeros())
    with _quiet_torch_jit(), torch.no_grad():
        from fvcore.nn import FlopCountAnalysis

        analysis: Any = FlopCountAnalysis(model, zeros)
        analysis.unsupported_ops_warnings(False).uncalled_modules_warnings(False)
        analysis.set_op_handle(**dict.fromkeys(FREE_OPERATORS))
        counts = analysis.by_module()
    unknown = sorted(analysis.unsupported_ops())
    if unknown:
        raise FlopsError(
            f"fvcore cannot count {', '.join(unknown)}; give it a counter or declare it free"
        )
    return [int(counts[f"calls.{index}"]) for index in range(len(calls))]


class _Calls(nn.Module):
    """Calls as a model that can be traced: tensors in, a flat tuple of tensors out."""

    def __init__(self, calls: list[_Call]) -> None:
        super().__init__()
        self.calls = nn.ModuleList(_CallModule(call) for call in calls)
        self.lengths = [len(call.tensors) for call in calls]

    def forward(self, *tensors: Tensor) -> tuple[Tensor, ...]:
        remaining = iter(tensors)
        pairs = zip(self.calls, self.lengths, strict=True)
        return tuple(_tensors([call(*islice(remaining, length)) for call, length in pairs]))


class _CallModule(nn.Module):
    """One call, as a module so that fvcore counts it apart."""

    def __init__(self, call: _Call) -> None:
        super().__init__()
        self.call = call

    def forward(self, *tensors: Tensor) -> Any:
        return self.call.repeat(*tensors)


def _signature(value: Any) -> Any:
    """What distinguishes arguments: tensors by shape, anything else by value."""
    if isinstance(value, Tensor):
        return (Tensor, value.shape)
    if isinstance(value, tuple | list):
        return tuple(map(_signature, value))
    if isinstance(value, dict):
        return tuple((name, _signature(item)) for name, item in value.items())
    if isinstance(value, slice):
        return (slice, value.start, value.stop, value.step)  # slices have no hash
    return value


def _tensors(value: Any) -> Iterator[Tensor]:
    """All tensors in nested tuples and lists."""
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, tuple | list):
        for item in value:
            yield from _tensors(item)


def _mapped(change: Callable[[Tensor], Tensor], value: Any) -> Any:
    """`value` with every tensor in nested tuples and lists changed, in order."""
    if isinstance(value, Tensor):
        return change(value)
    if isinstance(value, tuple | list):
        return type(value)(_mapped(change, item) for item in value)
    return value


def _shape_of(tensor: Tensor) -> Tensor:
    return torch.empty(tensor.shape, device="meta")


@contextmanager
def _quiet_torch_jit() -> Iterator[None]:
    """Silence that fvcore leans on torch.jit, which newer torch deprecates."""
    with warnings.catch_warnings():
        for category in (DeprecationWarning, FutureWarning):
            warnings.filterwarnings("ignore", r"`torch\.jit\.", category)
        yield
