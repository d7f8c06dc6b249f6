"""Data-parallel training: what one worker has to know of the others.

Every worker runs the same trial on its share of each batch. The first one leads: it alone
writes files and evaluates, the others follow its word. Starting the processes and joining
them to a `torch.distributed` group is somebody else's work (`nas.distributed` does it on
Ray).

Running statistics of batch normalisation are each worker's own, as in the reference; those
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
    """One worker among `count`; every method that talks must be called by all of them.

    Attributes:
        rank: which one this is, from 0.
        count: how many there are; 1 needs no process group.
    """

    rank: int = 0
    count: int = 1

    def __post_init__(self) -> None:
        if not 0 <= self.rank < self.count:
            found = f"(rank={self.rank}, count={self.count})"
            raise ConfigError(f"rank must be from 0 to count - 1, got {found}")

    @property
    def leads(self) -> bool:
        """Whether this worker is the one that writes and evaluates."""
        return self.rank == 0

    def mean(self, values: Tensor) -> Tensor:
        """The mean of all workers' `values`, which have one shape; the same for each."""
        if self.count == 1:
            return values
        total = values.clone()
        torch.distributed.all_reduce(total)
        return total / self.count

    def total(self, value: int) -> int:
        """The sum of all workers' numbers."""
        return sum(self._gathered(value))

    def average_gradients(self, parameters: Iterable[nn.Parameter]) -> None:
        """Put the mean of all workers' gradients in the place of each one's own.

        One message carries them all: these networks have at most some ten million
        parameters, so there is little to gain from sending parts during the backward pass.
        """
        gradients = [p.grad for p in parameters if p.grad is not None]
        if self.count == 1 or not gradients:
            return
        joined = self.mean(torch.cat([gradient.flatten() for gradient in gradients]))
        pieces = torch.split(joined, [gradient.numel() for gradient in gradients])
        shaped = [piece.view(g.shape) for piece, g in zip(pieces, gradients, strict=True)]
        torch._foreach_copy_(gradients, shaped)

    def share(self, make: Callable[[], ValueT]) -> ValueT:
        """What `make` gives the leader, in every worker; only the leader calls it."""
        if self.count == 1:
            return make()
        box: list[object] = [make() if self.leads else None]
        torch.distributed.broadcast_object_list(box, src=0)
        return cast("ValueT", box[0])

    def _gathered(self, value: int) -> list[int]:
        if self.count == 1:
            return [value]
        values: list[int] = [0] * self.count
        torch.distributed.all_gather_object(values, value)
        return values


ALONE = Workers()


def joined_workers() -> Workers:
    """This process among those of its `torch.distributed` group; alone without one."""
    if not (torch.distributed.is_available() and torch.distributed.is_initialized()):
        return ALONE
    return Workers(rank=torch.distributed.get_rank(), count=torch.distributed.get_world_size())
