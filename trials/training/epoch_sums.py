"""What the iterations of an epoch add up to, and the means that are reported of it."""

import math
from dataclasses import dataclass, field

from search_spaces.checks import require_integer, require_number
from search_spaces.errors import ConfigError

TERMS = ("total", "cls", "box", "keypoint")


@dataclass(kw_only=True)
class EpochSums:
    """What an epoch has added up so far, with which it can be taken up again.

    Attributes:
        iterations: that are done.
        images: that this worker trained on.
        seconds: wall time of them.
        losses: sums over the iterations, in the order of `TERMS`.
        learning_rate: of the last one.
    """

    iterations: int = 0
    images: int = 0
    seconds: float = 0.0
    losses: list[float] = field(default_factory=lambda: [0.0] * len(TERMS))
    learning_rate: float = 0.0

    def __post_init__(self) -> None:
        """Checked, since a checkpoint may come from a stranger. Raises ConfigError."""
        for name in ("iterations", "images"):
            require_integer(getattr(self, name), name, 0)
        for name in ("seconds", "learning_rate"):
            require_number(getattr(self, name), name, 0.0)
        if len(self.losses) != len(TERMS):
            raise ConfigError(f"losses must be {len(TERMS)} numbers, got {len(self.losses)}")
        for value in self.losses:
            require_number(value, "each of losses", -math.inf)

    def means(self) -> dict[str, float]:
        """The mean losses, by `TERMS`."""
        count = max(self.iterations, 1)
        return {name: total / count for name, total in zip(TERMS, self.losses, strict=True)}


@dataclass(frozen=True, kw_only=True)
class EpochLosses:
    """Means over an epoch's iterations; `learning_rate` is the last iteration's.

    `seconds` is the wall time of the epoch, in which `images` were trained.
    """

    total: float
    cls: float
    box: float
    keypoint: float
    learning_rate: float
    images: int
    seconds: float
