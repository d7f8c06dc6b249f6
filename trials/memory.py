"""Memory of trials: advice when it runs out, and freed memory returned to the system."""

import ctypes
import errno
import sys

import torch

from trials.device import free_cached_memory

GPU_ADVICE = (
    "choose a smaller batch_size in the recipe, a smaller image size, or fewer trials a GPU "
    "(--gpus-per-trial)"
)
HOST_ADVICE = (
    "run fewer trials at the same time (--cpus-per-trial), with fewer --loader-workers, or keep "
    "decoded images in files (--cache DIR) or not at all (--cache off)"
)


def memory_fault(error: BaseException) -> str | None:
    """Return a message with advice if `error` is a lack of memory, else None."""
    if isinstance(error, torch.OutOfMemoryError):
        return f"out of GPU memory ({error}); {GPU_ADVICE}"
    if _is_host_memory(error):
        return f"out of memory ({error}); {HOST_ADVICE}".replace(" ()", "")
    return None


def _is_host_memory(error: BaseException) -> bool:
    if isinstance(error, OSError):
        return error.errno == errno.ENOMEM
    # torch has no exception type for a failed allocation on the host.
    is_torchs = isinstance(error, RuntimeError) and "DefaultCPUAllocator" in str(error)
    return is_torchs or isinstance(error, MemoryError)


def release_free_memory() -> None:
    """Return the memory that this process has freed to the system; takes some milliseconds.

    A worker process runs one trial after another, each in its own thread, and glibc keeps
    freed memory (mostly decoded images) in the thread's arena. There are 8 arenas per core:
    without this call a worker grows by about one trial's images with every trial.
    """
    free_cached_memory()
    if sys.platform == "linux":
        trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # musl has none
        if trim is not None:
            trim(0)
