"""Device, precision and threads: from the user's words to torch's objects."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch

from search_spaces.errors import ConfigError


def resolve_device(name: str) -> torch.device:
    """`auto` is the GPU if there is one.

    Raises:
        ConfigError: no such device on this machine.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise ConfigError(f"device must be auto, cpu, cuda or cuda:N, got {name!r}") from error
    if device.type not in ("cpu", "cuda"):
        raise ConfigError(f"device must be auto, cpu, cuda or cuda:N, got {name!r}")
    gpus = torch.cuda.device_count()
    if device.type == "cuda" and (device.index or 0) >= gpus:
        raise ConfigError(f"device {name!r} was asked for, and this machine has {gpus} GPUs")
    return device


@dataclass(frozen=True, kw_only=True)
class Precision:
    """How the forward pass is computed; the loss is always float32.

    Attributes:
        name: `fp32`, `bf16` or `fp16`.
        dtype: of autocast; None for fp32.
        scaled: gradients need scaling against underflow (fp16).
    """

    name: str
    dtype: torch.dtype | None = None

    @property
    def scaled(self) -> bool:
        """Whether gradients need scaling against underflow."""
        return self.dtype is torch.float16


def resolve_precision(name: str, device: torch.device) -> Precision:
    """`auto` is fp32 on a CPU; bf16 on a GPU that computes in it, else fp16.

    Raises:
        ConfigError: fp16 on a CPU, which has no scaled training.
    """
    if name == "auto":
        name = "fp32"
        if device.type == "cuda":
            name = "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "fp16"
    if name == "fp16" and device.type == "cpu":
        raise ConfigError("precision fp16 needs a GPU; on a CPU use fp32 or bf16")
    dtypes = {"fp32": None, "bf16": torch.bfloat16, "fp16": torch.float16}
    return Precision(name=name, dtype=dtypes[name])


@contextmanager
def limited_threads(threads: int | None) -> Iterator[None]:
    """Run the block with `threads` CPU threads in torch; None changes nothing."""
    before = torch.get_num_threads()
    torch.set_num_threads(threads or before)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def available_cores() -> int:
    """Cores that this process may use."""
    affinity = getattr(os, "sched_getaffinity", None)  # absent on macOS and Windows
    return len(affinity(0)) if affinity else os.cpu_count() or 1


def default_loader_workers(device: torch.device, threads: int | None) -> int:
    """Sample-preparing processes: none where they would take cores from the network.

    On a CPU the network itself uses all cores, so samples are prepared in the training
    process; beside a GPU every core but one can prepare samples.
    """
    if device.type == "cpu":
        return 0
    return max(0, min(16, (threads or available_cores()) - 1))
