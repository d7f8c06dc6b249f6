"""How one trial is run: its length and size (part of the result) and the machine's share."""

from dataclasses import dataclass
from typing import Any

from search_spaces.checks import require_integer
from search_spaces.errors import ConfigError

PRECISIONS = ("auto", "fp32", "bf16", "fp16")
_OPTIONAL = ("threads", "loader_workers")
_LIMITS = {
    "epochs": (1, 100_000),
    "image_size": (32, 8192),
    "seed": (0, 2**32 - 1),
    "threads": (1, 1024),
    "loader_workers": (0, 256),
    "eval_every": (0, 100_000),
    "workers": (1, 4096),
}


@dataclass(frozen=True, kw_only=True)
class TrialSettings:
    """What a search fixes for all its trials.

    Attributes:
        epochs: passes over the training images.
        image_size: side of the square training crops, and long side at evaluation.
        seed: of weights, sample order and augmentation.
        device: `auto` (the GPU if there is one), `cpu`, `cuda`, `cuda:N`.
        threads: CPU threads of torch; None leaves torch's setting alone.
        precision: `fp32`, `bf16`, `fp16`, or `auto`: fp32 on CPU, bf16 on a GPU that has it.
        loader_workers: processes that prepare samples; None: 0 where there are few cores.
        eval_every: evaluate after every so many epochs; 0: only after the last. The last
            epoch is always evaluated.
        workers: data-parallel processes, each with the recipe's batch size.
    """

    epochs: int = 80
    image_size: int = 640
    seed: int = 0
    device: str = "auto"
    threads: int | None = None
    precision: str = "auto"
    loader_workers: int | None = None
    eval_every: int = 0
    workers: int = 1

    def __post_init__(self) -> None:
        for name, (low, high) in _LIMITS.items():
            value = getattr(self, name)
            if value is not None or name not in _OPTIONAL:
                object.__setattr__(self, name, require_integer(value, name, low, high))
        if self.image_size % 32:
            raise ConfigError(f"image_size must be a multiple of 32, got {self.image_size}")
        if self.precision not in PRECISIONS:
            raise ConfigError(f"precision must be one of {PRECISIONS}, got {self.precision!r}")
        if not isinstance(self.device, str) or not self.device:
            raise ConfigError(f"device must be text such as auto, cpu, cuda:0, got {self.device!r}")

    def comparable(self) -> dict[str, Any]:
        """The settings that define the result: the rest may differ from run to run."""
        return {
            "epochs": self.epochs,
            "image_size": self.image_size,
            "seed": self.seed,
            "precision": self.precision,
            "workers": self.workers,
        }

    def is_evaluated(self, epoch: int) -> bool:
        """Whether epoch `epoch`, from 1, ends with an evaluation."""
        return epoch == self.epochs or (self.eval_every > 0 and epoch % self.eval_every == 0)
