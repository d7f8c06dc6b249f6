"""Device, precision and threads of a trial; the only module that names a kind of GPU."""

import ctypes
import os
import platform
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from search_spaces.errors import ConfigError, counted

GPU = "cuda"  # torch's name of the kind of GPU, and of its module
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # options of mallopt (malloc.h of glibc)
MOST_DYNAMIC_THRESHOLD = 32 << 20  # bytes; glibc adjusts M_MMAP_THRESHOLD up to this
KEPT_BYTES = 256 << 20


def resolve_device(name: str) -> torch.device:
    """Return the device of a name: `auto` (the GPU if there is one), `cpu`, `cuda`, `cuda:N`.

    Raises:
        ConfigError: this machine has no such device.
    """
    if name == "auto":
        return torch.device(GPU if gpu_count() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise ConfigError(f"device must be auto, cpu, {GPU} or {GPU}:N, got {name!r}") from error
    if device.type not in ("cpu", GPU):
        raise ConfigError(f"device must be auto, cpu, {GPU} or {GPU}:N, got {name!r}")
    gpus = gpu_count()
    if device.type == GPU and (device.index or 0) >= gpus:
        raise ConfigError(f"device must be a GPU of this machine, which has {gpus}, got {name!r}")
    return device


def gpu_count() -> int:
    """Return the number of GPUs that this process can use."""
    return int(_gpu_module().device_count())


def use_gpu(device: torch.device) -> None:
    """Make a GPU the one that work without a device goes to; on a CPU do nothing."""
    if device.type == GPU:
        _gpu_module().set_device(device)


def device_name(device: torch.device) -> str:
    """Return `cpu`, or the model of the GPU."""
    return str(_gpu_module().get_device_name(device)) if device.type == GPU else "cpu"


def cpu_name() -> str:
    """Return the model of the CPU, with the number of cores that this process may use."""
    lines = Path("/proc/cpuinfo").read_text().splitlines() if sys.platform == "linux" else []
    models = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    model = next(models, platform.processor() or platform.machine())
    return f"{model} ({counted(available_cores(), 'core')})"


def synchronize(device: torch.device) -> None:
    """Wait until a GPU has finished all work issued so far; on a CPU do nothing."""
    if device.type == GPU:
        _gpu_module().synchronize(device)


def free_cached_memory() -> None:
    """Return unused GPU memory of torch's allocator to the system."""
    if _gpu_module().is_initialized():
        _gpu_module().empty_cache()


def _gpu_module() -> Any:
    return torch.get_device_module(GPU)


@dataclass(frozen=True, kw_only=True)
class Precision:
    """Number format of the forward pass; the loss is always float32.

    Attributes:
        name: `fp32`, `bf16` or `fp16`.
        dtype: type of autocast; None for fp32.
    """

    name: str
    dtype: torch.dtype | None = None

    @property
    def scaled(self) -> bool:
        """Whether gradients need scaling against underflow."""
        return self.dtype is torch.float16


def resolve_precision(name: str, device: torch.device) -> Precision:
    """Return the precision of a name; `auto` is fp32 on a CPU, bf16 on a GPU, else fp16.

    Raises:
        ConfigError: fp16 on a CPU, which cannot scale gradients.
    """
    if name == "auto":
        name = "fp32"
        if device.type == GPU:
            has_bf16 = _gpu_module().is_bf16_supported(including_emulation=False)
            name = "bf16" if has_bf16 else "fp16"
    if name == "fp16" and device.type == "cpu":
        raise ConfigError("precision fp16 needs a GPU; on a CPU use fp32 or bf16")
    dtypes = {"fp32": None, "bf16": torch.bfloat16, "fp16": torch.float16}
    return Precision(name=name, dtype=dtypes[name])


@contextmanager
def limited_threads(threads: int | None) -> Iterator[None]:
    """Run the block with `threads` CPU threads of torch; None keeps their number."""
    before = torch.get_num_threads()
    torch.set_num_threads(threads or before)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def available_cores() -> int:
    """Return the number of cores that this process may use."""
    affinity = getattr(os, "sched_getaffinity", None)  # absent on macOS and Windows
    return len(affinity(0)) if affinity else os.cpu_count() or 1


def default_loader_workers(device: torch.device, threads: int | None) -> int:
    """Return the number of processes that prepare samples.

    On a CPU the network uses all cores, so that the training process prepares the samples;
    with a GPU all cores but one prepare samples, up to 16.
    """
    if device.type == "cpu":
        return 0
    return max(0, min(16, (threads or available_cores()) - 1))


@contextmanager
def freed_memory_kept() -> Iterator[None]:
    """During the block, keep memory that is freed for the next allocation.

    Otherwise glibc returns the memory of one image's feature maps to the system before those of
    the next touch it again, a tenth or more of the CPU time of an evaluation. In training
    it gains less and costs a fifth of the memory.
    """
    set_option = _of_glibc("mallopt")
    if set_option is None:
        yield
        return
    set_option(M_MMAP_THRESHOLD, MOST_DYNAMIC_THRESHOLD)
    set_option(M_TRIM_THRESHOLD, KEPT_BYTES)
    try:
        yield
    finally:  # to the values that glibc's own adjustment ends at
        set_option(M_TRIM_THRESHOLD, 2 * MOST_DYNAMIC_THRESHOLD)
        release_free_memory()


def release_free_memory() -> None:
    """Return the memory that this process has freed to the system; takes some milliseconds.

    A worker process runs one trial after another, each in its own thread, and glibc keeps
    freed memory (mostly decoded images) in the thread's arena. There are 8 arenas per core:
    without this call a worker grows by about one trial's images with every trial.
    """
    free_cached_memory()
    trim = _of_glibc("malloc_trim")
    if trim is not None:
        trim(0)


def _of_glibc(name: str) -> Any:
    """Return a function of glibc; None on other systems and with musl, which lack it."""
    return getattr(ctypes.CDLL(None), name, None) if sys.platform == "linux" else None
