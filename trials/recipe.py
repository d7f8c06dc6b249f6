"""Training recipes as plain data. `reference` is that of SCRFD, `quick` suits short trainings."""

import os
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

from search_spaces.checks import require_integer, require_mapping, require_number, store_checked
from search_spaces.errors import ConfigError, shown

CROP_SCALES = (0.3, 0.45, 0.6, 0.8, 1.0, 1.2, 1.4, 1.6, 1.8, 2.0)
MAX_CROP_SCALE = 8.0
OPTIMIZERS = ("sgd", "adamw")
SCHEDULES = ("step", "cosine", "linear")


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """A training recipe; the defaults are those of SCRFD's published configurations.

    Positions in the schedule are fractions of all iterations, so that a recipe fits any
    number of epochs.

    Attributes:
        optimizer: `sgd` or `adamw`.
        learning_rate: rate after the warm-up.
        momentum, nesterov: parameters of SGD.
        weight_decay: decay of every parameter, as in the reference.
        batch_size: images per iteration.
        warmup_iterations, warmup_fraction: length of the warm-up, as a number of iterations
            and as a share of all iterations; the shorter one counts.
        warmup_start: share of the rate at the first iteration, from where it rises linearly.
        schedule: `step`, `cosine` or `linear` (the last two fall to `final_ratio`).
        drops, drop_factor: fractions of the training at which `step` multiplies the rate.
        final_ratio: share of the rate at the end of `cosine` and `linear`.
        gradient_clip: largest global norm of the gradients; 0: none.
        crop_scales: sides of the random square crop, relative to the image's shorter side.
        crop_weights: relative frequency of each scale; empty: all equal.
        clip_boxes: whether to clip faces to the crop.
        flip: probability of a left-right flip.
        distort: whether to distort brightness, contrast and colours.
        ema_decay: decay of a moving average of the weights, which is then evaluated; 0: none.
        boxes_from_anchors: whether the untrained network predicts its anchors instead of
            boxes of size 0 (see `trials.training.state.start_from_anchors`); the reference
            does not.
    """

    optimizer: str = "sgd"
    learning_rate: float = 0.01
    momentum: float = 0.9
    nesterov: bool = False
    weight_decay: float = 5e-4
    batch_size: int = 8
    warmup_iterations: int = 1500
    warmup_fraction: float = 0.1
    warmup_start: float = 0.001
    schedule: str = "step"
    drops: tuple[float, ...] = (55 / 80, 68 / 80)
    drop_factor: float = 0.1
    final_ratio: float = 0.0
    gradient_clip: float = 0.0
    crop_scales: tuple[float, ...] = CROP_SCALES
    crop_weights: tuple[float, ...] = ()
    clip_boxes: bool = True
    flip: float = 0.5
    distort: bool = True
    ema_decay: float = 0.0
    boxes_from_anchors: bool = False

    def __post_init__(self) -> None:
        for name, choices in _CHOICES.items():
            if getattr(self, name) not in choices:
                found = shown(getattr(self, name))
                raise ConfigError(f"{name} must be one of {', '.join(choices)}, got {found}")
        for name, limits in _RANGES.items():
            store_checked(self, require_number, [name], *limits)
        for name, limits in _COUNTS.items():
            store_checked(self, require_integer, [name], *limits)
        for name in _FLAGS:
            if not isinstance(getattr(self, name), bool):
                raise ConfigError(f"{name} must be true or false, got {shown(getattr(self, name))}")
        for name, (low, high) in _LISTS.items():
            values = getattr(self, name)
            if not isinstance(values, list | tuple):
                raise ConfigError(f"{name} must be a list of numbers, got {shown(values)}")
            checked = tuple(require_number(v, name, low, high) for v in values)
            object.__setattr__(self, name, checked)
        self._check_combinations()

    def _check_combinations(self) -> None:
        if self.nesterov and self.momentum == 0.0:
            raise ConfigError("nesterov needs a momentum above 0, got 0")
        if list(self.drops) != sorted(self.drops):
            raise ConfigError(f"drops must be in ascending order, got {self.drops}")
        if not self.crop_scales:
            raise ConfigError("crop_scales must name at least one scale, got none")
        scales, weights = len(self.crop_scales), self.crop_weights
        if weights and (len(weights) != scales or sum(weights) <= 0.0):
            rule = f"crop_weights must be {scales} numbers, one a scale, not all 0"
            raise ConfigError(f"{rule}, got {weights}")

    @classmethod
    def named(cls, name: str) -> "Recipe":
        """Return a built-in recipe. Raises ConfigError, which lists the names."""
        if name not in BUILTIN:
            raise ConfigError(f"the built-in recipes are {', '.join(BUILTIN)}, got {shown(name)}")
        return BUILTIN[name]

    @property
    def crop_probabilities(self) -> tuple[float, ...] | None:
        """Probability of each crop scale; None: all equal."""
        total = sum(self.crop_weights)
        return tuple(weight / total for weight in self.crop_weights) or None

    def warmup_length(self, iterations: int) -> int:
        """Return the iterations of warm-up in a training of `iterations`."""
        return min(self.warmup_iterations, round(self.warmup_fraction * iterations))

    def to_dict(self) -> dict[str, Any]:
        """Return plain data with lists instead of tuples."""
        content = asdict(self)
        return {key: list(v) if isinstance(v, tuple) else v for key, v in content.items()}

    @classmethod
    def from_dict(cls, content: object, source: str = "recipe") -> "Recipe":
        """Return the recipe of plain data: fields, and `base`, a built-in recipe to start from.

        Raises:
            ConfigError: a key is unknown or a value breaks a rule; begins with `source`.
        """
        known = ["base", *(item.name for item in fields(cls))]
        values = require_mapping(content, f"{source}: a recipe", known)
        try:
            base = cls.named(str(values.pop("base", "reference")))
            return replace(base, **values)
        except ConfigError as error:
            raise ConfigError(f"{source}: {error}") from error


_CHOICES = {"optimizer": OPTIMIZERS, "schedule": SCHEDULES}
_FLAGS = ("nesterov", "clip_boxes", "distort", "boxes_from_anchors")
_COUNTS = {"batch_size": (1, 65536), "warmup_iterations": (0, 10**9)}
_LISTS = {"drops": (0.0, 1.0), "crop_scales": (0.01, MAX_CROP_SCALE), "crop_weights": (0.0, 1e9)}
_RANGES = {
    "learning_rate": (1e-12, 1e3),
    "momentum": (0.0, 0.9999),
    "weight_decay": (0.0, 10.0),
    "warmup_fraction": (0.0, 1.0),
    "warmup_start": (0.0, 1.0),
    "drop_factor": (0.0, 1.0),
    "final_ratio": (0.0, 1.0),
    "gradient_clip": (0.0, 1e9),
    "flip": (0.0, 1.0),
    "ema_decay": (0.0, 0.999999),
}


def load_recipe(reference: str | os.PathLike[str]) -> Recipe:
    """Return a built-in recipe by its name, or that of a YAML file.

    Raises:
        ConfigError: the reference is neither, or the file breaks a rule (names the file).
    """
    if str(reference) in BUILTIN:
        return BUILTIN[str(reference)]
    if not Path(reference).exists():
        names = ", ".join(BUILTIN)
        raise ConfigError(f"a recipe must be {names} or a YAML file, got {str(reference)!r}")
    from search_spaces.yaml_files import read_yaml

    return Recipe.from_dict(read_yaml(reference), str(reference))


BUILTIN: dict[str, Recipe] = {
    "reference": Recipe(),
    "quick": Recipe(
        optimizer="adamw",
        learning_rate=0.003,
        weight_decay=0.05,
        batch_size=4,
        warmup_fraction=0.05,
        schedule="cosine",
        gradient_clip=10.0,
        crop_scales=(1.0, 1.2, 1.4, 1.6, 1.8),  # faces about as large as at evaluation
        ema_decay=0.98,
        boxes_from_anchors=True,
    ),
}
