"""A moving average of a network's weights, which evaluates better than the last weights."""

import copy
from typing import Generic, TypeVar

import torch
from torch import nn

ModuleT = TypeVar("ModuleT", bound=nn.Module)


class AveragedModel(Generic[ModuleT]):
    """Keeps `module`, a copy whose floating-point state follows the trained model.

    After update n the share of the old average is min(decay, (1 + n) / (10 + n)): early
    averages forget the random initial weights quickly.
    """

    def __init__(self, model: ModuleT, decay: float) -> None:
        self.decay, self.updates = decay, 0
        self.module = copy.deepcopy(model).eval().requires_grad_(False)

    @torch.no_grad()
    def update(self, model: ModuleT) -> None:
        """Move the average towards the present state of `model`."""
        self.updates += 1
        share = 1.0 - min(self.decay, (1 + self.updates) / (10 + self.updates))
        averages, values = [], []
        current = model.state_dict()
        for name, average in self.module.state_dict().items():
            if average.is_floating_point():
                averages.append(average)
                values.append(current[name])
            else:
                average.copy_(current[name])
        torch._foreach_lerp_(averages, values, share)
