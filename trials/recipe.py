"""Recipe: how a network is trained, as plain data. `reference` is SCRFD's, `quick` is ours."""

import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

from search_spaces.checks import require_integer, require_number
from search_spaces.errors import ConfigError, shown

CROP_SCALES = (0.3, 0.45, 0.6, 0.8, 1.0, 1.2, 1.4, 1.6, 1.8, 2.0)
MAX_CROP_SCALE = 8.0
OPTIMIZERS = ("sgd", "adamw")
SCHEDULES = ("step", "cosine", "linear")


@dataclass(frozen=True, kw_only=True)
class Augmentation:
    """How training samples are drawn.

    Attributes:
        crop_scales: sides of the random crop, relative to the image's shorter side.
        crop_probabilities: of each scale; None: all alike.
        flip: probability of a left-right flip.
        distort: whether to distort brightness, contrast and colours.
        clip_boxes: whether faces that a crop cuts keep only what lies inside.
    """

    crop_scales: tuple[float, ...] = CROP_SCALES
    crop_probabilities: tuple[float, ...] | None = None
    flip: float = 0.5
    distort: bool = True
    clip_boxes: bool = True

    def __post_init__(self) -> None:
        scales = self.crop_scales
        if not scales or not all(0 < scale <= MAX_CROP_SCALE for scale in scales):
            rule = f"crop_scales must be one or more numbers above 0, at most {MAX_CROP_SCALE:g}"
            raise ConfigError(f"{rule}, got {scales}")
        if not 0 <= self.flip <= 1:
            raise ConfigError(f"flip is a probability, got {self.flip}")
        if self.crop_probabilities is None:
            return
        chances = self.crop_probabilities
        fits = len(chances) == len(scales) and all(0 <= chance <= 1 for chance in chances)
        if not fits or abs(sum(chances) - 1) > 1e-6:
            rule = f"crop_probabilities must be {len(scales)} numbers from 0 to 1 that add to 1"
            raise ConfigError(f"{rule}, got {chances}")


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """A training recipe; the defaults are the reference's (REFERENCE facts, section 7).

    Positions in the schedule are fractions of all iterations, so that a recipe fits any
    number of epochs.

    Attributes:
        optimizer: `sgd` or `adamw`.
        learning_rate: after the warm-up, for one batch of `batch_size`.
        momentum, nesterov: of SGD.
        weight_decay: on every parameter, as the reference does.
        batch_size: images an iteration.
        warmup_iterations, warmup_fraction: the warm-up takes the first, but at most the
            second's share of all iterations.
        warmup_start: share of the rate at the first iteration; linear from there.
        schedule: `step`, `cosine` or `linear` (both fall to `final_ratio`).
        drops, drop_factor: of `step`: at these fractions the rate is multiplied.
        final_ratio: of `cosine` and `linear`: share of the rate at the end.
        gradient_clip: largest global norm of the gradients; 0: none.
        crop_scales: sides of the random square crop, as shares of the image's short side.
        crop_weights: how often each scale is drawn, relatively; empty: equally often.
        clip_boxes: clip faces to the crop.
        flip: probability of a mirrored image.
        distort: photometric distortion.
        ema_decay: of a moving average of the weights, which is then what is evaluated; 0: none.
        boxes_from_anchors: let the untrained network answer its anchors instead of boxes of
            no size, whose IoU is 0 and whose score and weight are too (see
            `trials.training.epoch.start_from_anchors`). The reference does not.
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
        _check_choice(self, "optimizer", OPTIMIZERS)
        _check_choice(self, "schedule", SCHEDULES)
        for name, (low, high) in _RANGES.items():
            _set_number(self, name, low, high)
        for name, top in (("batch_size", 65536), ("warmup_iterations", 10**9)):
            _set_integer(self, name, int(name == "batch_size"), top)
        for name in ("nesterov", "clip_boxes", "distort", "boxes_from_anchors"):
            if not isinstance(getattr(self, name), bool):
                raise ConfigError(f"{name} must be true or false, got {shown(getattr(self, name))}")
        _set_numbers(self, "drops", 0.0, 1.0)
        _set_numbers(self, "crop_scales", 0.01, MAX_CROP_SCALE)
        _set_numbers(self, "crop_weights", 0.0, 1e9)
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
        """A built-in recipe. Raises ConfigError listing the names."""
        if name not in BUILTIN:
            raise ConfigError(f"the built-in recipes are {', '.join(BUILTIN)}, got {shown(name)}")
        return BUILTIN[name]

    @property
    def augmentation(self) -> Augmentation:
        """How the recipe draws its training samples."""
        total = sum(self.crop_weights)
        chances = tuple(weight / total for weight in self.crop_weights)
        return Augmentation(
            crop_scales=self.crop_scales,
            crop_probabilities=chances or None,
            flip=self.flip,
            distort=self.distort,
            clip_boxes=self.clip_boxes,
        )

    def warmup_length(self, iterations: int) -> int:
        """Iterations of warm-up in a training of `iterations`."""
        return min(self.warmup_iterations, round(self.warmup_fraction * iterations))

    def to_dict(self) -> dict[str, Any]:
        """Plain data, lists instead of tuples."""
        content = asdict(self)
        return {key: list(v) if isinstance(v, tuple) else v for key, v in content.items()}

    @classmethod
    def from_dict(cls, content: object, source: str = "recipe") -> "Recipe":
        """Build from plain data: the fields, and `base`, a built-in recipe to start from.

        Raises:
            ConfigError: an unknown key or a value that breaks a rule; begins with `source`.
        """
        if not isinstance(content, Mapping):
            kind = type(content).__name__
            raise ConfigError(f"{source}: a recipe must be a mapping, got {kind}")
        known = [item.name for item in fields(cls)]
        unknown = sorted(str(key) for key in content if key not in (*known, "base"))
        if unknown:
            raise ConfigError(f"{source}: unknown keys {unknown}; known are {['base', *known]}")
        try:
            base = cls.named(str(content.get("base", "reference")))
            return replace(base, **{key: content[key] for key in content if key != "base"})
        except ConfigError as error:
            raise ConfigError(f"{source}: {error}") from error


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
    """A built-in recipe by its name, or a user's YAML file.

    Raises:
        ConfigError: neither, or the file breaks a rule (the message names the file).
    """
    if str(reference) in BUILTIN:
        return BUILTIN[str(reference)]
    if not Path(reference).exists():
        names = ", ".join(BUILTIN)
        raise ConfigError(f"a recipe must be {names} or a YAML file, got {str(reference)!r}")
    from search_spaces.files import read_yaml

    return Recipe.from_dict(read_yaml(reference), str(reference))


def _check_choice(recipe: Recipe, name: str, choices: tuple[str, ...]) -> None:
    value = getattr(recipe, name)
    if value not in choices:
        raise ConfigError(f"{name} must be one of {', '.join(choices)}, got {shown(value)}")


def _set_integer(recipe: Recipe, name: str, low: int, high: int) -> None:
    object.__setattr__(recipe, name, require_integer(getattr(recipe, name), name, low, high))


def _set_number(recipe: Recipe, name: str, low: float, high: float) -> None:
    value = require_number(getattr(recipe, name), name, low, high)
    object.__setattr__(recipe, name, value)


def _set_numbers(recipe: Recipe, name: str, low: float, high: float) -> None:
    values = getattr(recipe, name)
    if not isinstance(values, list | tuple):
        raise ConfigError(f"{name} must be a list of numbers, got {shown(values)}")
    object.__setattr__(recipe, name, tuple(require_number(v, name, low, high) for v in values))


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
