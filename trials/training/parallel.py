"""Data-parallel training: communication between the workers of one trial.

Every worker runs the same trial on its share of each batch. Only the first one, the leader,
writes files and evaluates. The caller starts the processes and joins them to a
`torch.distributed` group.

Every worker has its own running statistics of batch normalisation, as in the reference; those
of the leader are evaluated and saved.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TypeVar, cast

import torch
from torch import Tensor, nn

from search_spaces.errors import ConfigError

ValueT = TypeVar("ValueT")


@dataclass(frozen=True, kw_only=True)
class Workers:
    """One of `count` workers. All of them must call the methods that communicate.

    Attributes:
        rank: number of this worker, from 0.
        count: number of workers; a single one needs no process group.
    """

    rank: int = 0
    count: int = 1

    def __post_init__(self) -> None:
        if not 0 <= self.rank < self.count:
            found = f"(rank={self.rank}, count={self.count})"
            raise ConfigError(f"rank must be from 0 to count - 1, got {found}")

    @property
    def leads(self) -> bool:
        """Whether this worker writes files and evaluates."""
        return self.rank == 0

    def mean(self, values: Tensor) -> Tensor:
        """Return the mean of all workers' `values`, which have the same shape."""
        if self.count == 1:
            return values
        total = values.clone()
        torch.distributed.all_reduce(total)
        return total / self.count

    def total(self, value: int) -> int:
        """Return the sum of all workers' values."""
        if self.count == 1:
            return value
        values: list[int] = [0] * self.count
        torch.distributed.all_gather_object(values, value)
        return sum(values)

    def average_gradients(self, parameters: Iterable[nn.Parameter]) -> None:
        """Replace the gradients by their mean over all workers.

        One message carries them all: the networks have at most some ten million parameters,
        so that sending parts during the backward pass would gain little.
        """
        gradients = [p.grad for p in parameters if p.grad is not None]
        if self.count == 1 or not gradients:
            return
        joined = self.mean(torch.cat([gradient.flatten() for gradient in gradients]))
        pieces = torch.split(joined, [gradient.numel() for gradient in gradients])
        shaped = [piece.view(g.shape) for piece, g in zip(pieces, gradients, strict=True)]
        torch._foreach_copy_(gradients, shaped)

    def share(self, make: Callable[[], ValueT]) -> ValueT:
        """Return the leader's `make()` in every worker; the others do not call it."""
        if self.count == 1:
            return make()
        box: list[object] = [make() if self.leads else None]
        torch.distributed.broadcast_object_list(box, src=0)
        return cast("ValueT", box[0])


ALONE = Workers()


def joined_workers() -> Workers:
    """Return this process's place in its `torch.distributed` group, `ALONE` without one."""
    if not (torch.distributed.is_available() and torch.distributed.is_initialized()):
        return ALONE
    return Workers(rank=torch.distributed.get_rank(), count=torch.distributed.get_world_size())
