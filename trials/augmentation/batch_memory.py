"""Memory for a batch's bytes, shared where it has to go from a worker process to another."""

import math

import torch
from torch.utils.data import get_worker_info


def batch_memory(shape: tuple[int, ...]) -> torch.Tensor:
    """An uninitialised uint8 tensor, in a worker process in shared memory.

    There a batch would otherwise be copied once more on its way; torch joins its own
    batches in the same way.
    """
    if get_worker_info() is None:
        return torch.empty(shape, dtype=torch.uint8)
    size = max(1, math.prod(shape))
    storage = torch.UntypedStorage._new_shared(size, device="cpu")  # type: ignore[no-untyped-call]
    flat = torch.empty(0, dtype=torch.uint8).set_(storage)
    return flat[: math.prod(shape)].view(shape)
