"""A stand-in for a GPU: torch takes its tensors for a GPU's, and the CPU computes them.

With the fixture `one_gpu`, `trials.device` names it in the place of `cuda`. Its tensors have the
values of the CPU's, in the backward pass too (in another memory order where a size is 1, so that
some sums are rounded differently). Combining them with tensors of the CPU raises, as on a GPU.
Every point at which the program would wait for a GPU is recorded.

torch starts the threads of the backward pass once in a process: import this module at the top of a
test file, so that the device is known before any test runs.
"""

import traceback
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.utils import backend_registration
from torch.utils._python_dispatch import TorchDispatchMode, return_and_correct_aliasing

NAME = "standin"
ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("search_spaces", "trials", "reports", "nas")
aten = torch.ops.aten
COPIES = (aten._to_copy.default, aten.copy_.default)
INDEXED = (aten.index.Tensor, aten.index_put_.default, aten.index_put.default)
WAITS = (torch.Tag.data_dependent_output, torch.Tag.dynamic_output_shape)


class Gpu(backend_registration._DummyBackendModule):
    """The functions of `torch.cuda` that `trials.device` calls, and what has happened.

    Attributes:
        is_entered: whether there is a GPU.
        calls: how often each function was called.
        waits: how often the program would have waited, by (function of the project, operation).
    """

    def __init__(self) -> None:
        self.is_entered = False
        self.calls: Counter[str] = Counter()
        self.waits: Counter[tuple[str, str]] = Counter()

    def get_amp_supported_dtype(self) -> list[torch.dtype]:
        return [torch.bfloat16, torch.float16]

    def is_bf16_supported(self, including_emulation: bool) -> bool:
        return True

    def get_device_name(self, device: torch.device) -> str:
        return "stand-in"

    def reset_peak_memory_stats(self) -> None:
        self.calls["reset_peak_memory_stats"] += 1

    def max_memory_allocated(self) -> int:
        return 0

    def synchronize(self, device: torch.device) -> None:
        self.calls["synchronize"] += 1

    def set_device(self, device: torch.device) -> None:
        self.calls["set_device"] += 1

    def empty_cache(self) -> None:
        self.calls["empty_cache"] += 1


GPU = Gpu()


class _Hook(backend_registration._DummyPrivateUse1Hook):
    def is_available(self) -> bool:
        return GPU.is_entered  # loaders pin memory where there is an accelerator


backend_registration._setup_privateuseone_for_python_backend(NAME, backend_module=GPU, hook=_Hook())
DEVICE = torch.device(NAME, 0)


class OnGpu(torch.Tensor):
    """A tensor on the stand-in; `values` has its numbers on the CPU, and is what is pickled."""

    values: torch.Tensor

    @staticmethod
    def __new__(cls, values: torch.Tensor) -> "OnGpu":
        layout = {"strides": values.stride(), "storage_offset": values.storage_offset()}
        made: OnGpu = torch.Tensor._make_wrapper_subclass(
            cls, values.shape, dtype=values.dtype, device=DEVICE, **layout
        )
        made.values = values
        return made

    def __repr__(self) -> str:
        return f"OnGpu({self.values})"

    def __reduce_ex__(self, protocol: Any) -> Any:
        return self.values.__reduce_ex__(protocol)

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return _compute(func, args, kwargs or {})


class _Mode(TorchDispatchMode):
    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func is aten._pin_memory.default:
            GPU.calls["pin_memory"] += 1
            return args[0].clone()
        if _waits(func, args, kwargs):
            GPU.waits[_caller(), str(func)] += 1
        return _compute(func, args, kwargs)


def one_gpu(monkeypatch: pytest.MonkeyPatch) -> Iterator[Gpu]:
    """Have the stand-in as the only GPU of this machine."""
    monkeypatch.setattr("trials.device.GPU", NAME)
    monkeypatch.setattr(GPU, "is_entered", True)
    GPU.calls.clear()
    GPU.waits.clear()
    with _Mode():
        yield GPU


def _compute(func: Any, args: Any, kwargs: dict[str, Any]) -> Any:
    """Call an operation on the values; wrap its results where a GPU would compute it."""
    tensors = _tensors(args)
    is_there = any(isinstance(tensor, OnGpu) for tensor in tensors)
    # Numbers without dimensions may stay on the CPU.
    is_mixed = is_there and any(t.dim() and not isinstance(t, OnGpu) for t in tensors)
    if is_mixed and func not in COPIES:
        raise RuntimeError(f"{func}: expected all tensors to be on the same device")
    device, options = kwargs.get("device"), _mapped(_values, kwargs)
    if device is not None:
        is_there, options["device"] = torch.device(device).type == NAME, torch.device("cpu")
    if func is aten.copy_.default:
        is_there = isinstance(args[0], OnGpu)
    found = func(*_mapped(_values, args), **options)
    if not is_there:
        return found
    return return_and_correct_aliasing(func, args, kwargs, _mapped(OnGpu, found))


def _waits(func: Any, args: Any, kwargs: dict[str, Any]) -> bool:
    """Return whether the program waits here until a GPU has computed what it was given."""
    if func in COPIES:
        source = args[1] if func is aten.copy_.default else args[0]
        target = args[0].device if func is aten.copy_.default else kwargs.get("device")
        if target is None or source.device.type == torch.device(target).type:
            return False
        is_asynchronous = kwargs.get("non_blocking") or (func is COPIES[1] and args[2:] == (True,))
        return isinstance(source, OnGpu) or not is_asynchronous
    if not any(isinstance(tensor, OnGpu) for tensor in _tensors(args)):
        return False
    if func in INDEXED:
        return any(index is not None and index.dtype == torch.bool for index in args[1])
    return any(tag in func.tags for tag in WAITS)


def _mapped(change: Callable[[torch.Tensor], torch.Tensor], value: Any) -> Any:
    """Return nested arguments with every tensor changed."""
    if isinstance(value, torch.Tensor):
        return change(value)
    if isinstance(value, dict):
        return {key: _mapped(change, item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(_mapped(change, item) for item in value)
    return value


def _values(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.values if isinstance(tensor, OnGpu) else tensor


def _tensors(value: Any) -> list[torch.Tensor]:
    if isinstance(value, torch.Tensor):
        return [value]
    return [t for v in value for t in _tensors(v)] if isinstance(value, list | tuple) else []


def _caller() -> str:
    """Return the innermost function of the project on the stack, as `losses.normalise`."""
    for frame in reversed(traceback.extract_stack()):
        path = Path(frame.filename)
        if path.is_relative_to(ROOT) and path.relative_to(ROOT).parts[0] in PACKAGES:
            return f"{path.stem}.{frame.name}"
    return "elsewhere"


# `torch.tensor(data, device=...)` and `new_tensor` call these directly.
_LIBRARY = torch.library.Library("aten", "IMPL")


def _empty_strided(size: Any, stride: Any, *, dtype: Any = None, **_: Any) -> OnGpu:
    return OnGpu(torch.empty_strided(size, stride, dtype=dtype))


def _copy_from(source: torch.Tensor, target: OnGpu, non_blocking: bool = False) -> OnGpu:
    GPU.waits[_caller(), "aten._copy_from.default"] += 1
    target.values.copy_(source)
    return target


_LIBRARY.impl("empty_strided", _empty_strided, "PrivateUse1")
_LIBRARY.impl("_copy_from", _copy_from, "PrivateUse1")

# Half precision is not simulated: operations keep the type of their arguments.
_ANY = torch.library.Library("_", "IMPL")
_ANY.fallback(torch.library.fallthrough_kernel, "AutocastPrivateUse1")
