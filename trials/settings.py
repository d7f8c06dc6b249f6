"""How one trial is run: its length and size (part of the result) and the machine's share."""

from dataclasses import dataclass
from typing import Any

from search_spaces.errors import ConfigError

PRECISIONS = ("auto", "fp32", "bf16", "fp16")


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
        _check_integer("epochs", self.epochs, 1, 100_000)
        _check_integer("image_size", self.image_size, 32, 8192)
        _check_integer("seed", self.seed, 0, 2**32 - 1)
        _check_integer("eval_every", self.eval_every, 0, 100_000)
        _check_integer("workers", self.workers, 1, 4096)
        if self.image_size % 32:
            raise ConfigError(f"image_size must be a multiple of 32, got {self.image_size}")
        if self.threads is not None:
            _check_integer("threads", self.threads, 1, 1024)
        if self.loader_workers is not None:
            _check_integer("loader_workers", self.loader_workers, 0, 256)
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


def _check_integer(name: str, value: object, low: int, high: int) -> None:
    is_integer = isinstance(value, int) and not isinstance(value, bool)
    if not is_integer or not low <= value <= high:  # type: ignore[operator]
        raise ConfigError(f"{name} must be an integer from {low} to {high}, got {value!r}")
