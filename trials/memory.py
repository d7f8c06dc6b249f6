"""A trial's memory: what one has freed is not kept from the next, and what to do without any."""

import ctypes
import errno
import sys

import torch

GPU_ADVICE = (
    "choose a smaller batch_size in the recipe, a smaller image size, or fewer trials a GPU "
    "(--gpus-per-trial)"
)
HOST_ADVICE = (
    "run fewer trials at the same time (--cpus-per-trial), with fewer --loader-workers, or keep "
    "decoded images in files (--cache DIR) or not at all (--cache off)"
)


def memory_fault(error: BaseException) -> str | None:
    """What to say if `error` is a lack of memory, with the advice that fits; else None."""
    if isinstance(error, torch.OutOfMemoryError):
        return f"out of GPU memory ({error}); {GPU_ADVICE}"
    if _is_host_memory(error):
        return f"out of memory ({error}); {HOST_ADVICE}".replace(" ()", "")
    return None


def _is_host_memory(error: BaseException) -> bool:
    if isinstance(error, OSError):
        return error.errno == errno.ENOMEM
    # torch has no type of its own for what its allocator could not get from the system.
    is_torchs = isinstance(error, RuntimeError) and "DefaultCPUAllocator" in str(error)
    return is_torchs or isinstance(error, MemoryError)


def give_back_free_memory() -> None:
    """Let the system have what this process has freed; takes some milliseconds.

    A worker runs trial after trial, each in a thread of its own, and glibc keeps what a
    thread has freed (the decoded images above all) in that thread's arena. There are 8
    arenas a core: without this, a worker grows by about one trial's images with every trial.
    """
    if torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
        torch.cuda.empty_cache()
    if sys.platform == "linux":
        trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # absent from musl
        if trim is not None:
            trim(0)
