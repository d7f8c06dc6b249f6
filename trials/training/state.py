"""The state of a network in training: weights, optimiser, moving average, gradient scaler."""

import copy
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from search_spaces.architecture import Architecture
from search_spaces.network.detector import Detector, build_detector
from trials.detection.anchors import ANCHOR_SIZES, STRIDES
from trials.device import Precision
from trials.recipe import Recipe
from trials.training.parallel import ALONE, Workers


class AveragedModel:
    """Exponential moving average of a model's weights, for evaluation.

    `module` is a copy whose floating-point state follows the trained model. In update n the
    old average has the weight min(decay, (1 + n) / (10 + n)), so that early averages forget
    the random initial weights quickly.
    """

    def __init__(self, model: Detector, decay: float) -> None:
        self.decay, self.updates = decay, 0
        self.module = copy.deepcopy(model).eval().requires_grad_(False)

    @torch.no_grad()
    def update(self, model: Detector) -> None:
        """Move the average towards the current state of `model`."""
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


@dataclass(kw_only=True)
class Training:
    """A network in training, with everything that its steps change or depend on."""

    model: Detector
    optimizer: torch.optim.Optimizer
    average: AveragedModel | None
    scaler: torch.amp.GradScaler
    recipe: Recipe
    precision: Precision
    device: torch.device
    workers: Workers = ALONE

    @property
    def evaluated(self) -> Detector:
        """The network to evaluate: the moving average if there is one."""
        return self.average.module if self.average else self.model

    def state_dict(self) -> dict[str, Any]:
        """Return the state for a checkpoint (see `trials.training.checkpoint.STATE`)."""
        return {
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "average": self.average.module.state_dict() if self.average else None,
            "average_updates": self.average.updates if self.average else 0,
            "scaler": self.scaler.state_dict(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore a state of `state_dict`."""
        self.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.scaler.load_state_dict(state["scaler"])
        if self.average is not None and state["average"] is not None:
            self.average.module.load_state_dict(state["average"])
            self.average.updates = state["average_updates"]


def start_training(
    architecture: Architecture,
    recipe: Recipe,
    *,
    seed: int,
    device: torch.device,
    precision: Precision,
    workers: Workers = ALONE,
) -> Training:
    """Return a network with the initial weights of `seed`, and its optimiser.

    The network is in channels-last memory, in which convolutions are faster on CPUs and GPUs
    alike (measured on a CPU: 1.6 to 2 times).
    """
    model = build_detector(architecture, torch.Generator().manual_seed(seed))
    if recipe.boxes_from_anchors:
        start_from_anchors(model)
    model = model.to(memory_format=torch.channels_last).to(device).train()
    return Training(
        model=model,
        optimizer=build_optimizer(model, recipe),
        average=AveragedModel(model, recipe.ema_decay) if recipe.ema_decay else None,
        scaler=torch.amp.GradScaler(device.type, enabled=precision.scaled),
        recipe=recipe,
        precision=precision,
        device=device,
        workers=workers,
    )


@torch.no_grad()
def start_from_anchors(model: Detector) -> None:
    """Set the biases of the box convolutions to the anchors' half sides, in stride units.

    A network whose first boxes have no size spends its first epochs on a plateau: an IoU of
    0 makes the target of every score 0, and scores near 0 take the weight from the box loss.
    """
    sides = [size / (2 * STRIDES[0]) for size in ANCHOR_SIZES[0]]  # the same on every level
    for conv in model.head.boxes:
        bias = conv.get_parameter("bias")
        bias.copy_(torch.tensor(sides).repeat_interleave(len(bias) // len(sides)))


def build_optimizer(model: nn.Module, recipe: Recipe) -> torch.optim.Optimizer:
    """Return the recipe's optimiser; weight decay applies to every parameter, as in SCRFD."""
    common: dict[str, Any] = {
        "lr": recipe.learning_rate,
        "weight_decay": recipe.weight_decay,
        "fused": True,
    }
    if recipe.optimizer == "adamw":
        return torch.optim.AdamW(model.parameters(), **common)
    return torch.optim.SGD(
        model.parameters(), momentum=recipe.momentum, nesterov=recipe.nesterov, **common
    )
