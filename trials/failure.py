"""Failure of a trial from the exception that ended it, with advice where memory ran out."""

import errno

import torch

from search_spaces.errors import DataError
from search_spaces.files import is_disk_full
from trials.result import TrialFailure, TrialFault

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


def failure_of(error: BaseException, attempts: int = 1) -> TrialFailure:
    """Return the failure that `error`, which ended a trial, means."""
    if isinstance(error, TrialFault):
        return TrialFailure(
            reason=error.message, kind=error.kind, epoch=error.epoch, attempts=attempts
        )
    kind, reason = "error", f"{type(error).__name__}: {error}".rstrip(": ")
    if advice := memory_fault(error):
        kind, reason = "memory", advice
    elif isinstance(error, DataError):
        kind = "data"
    elif is_disk_full(error):
        kind = "disk"
    elif isinstance(error, KeyboardInterrupt | SystemExit):
        kind = "killed"
    return TrialFailure(reason=reason, kind=kind, attempts=attempts)
