"""What the options of a stage declare beyond `trials.options.Option`."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Any, Literal, TypeAlias

from search_spaces.errors import ConfigError
from trials.options import OPTION, Option, declared, option, option_field
from trials.recipe import Recipe, load_recipe
from trials.settings import TrialSettings

# Panels of the help of a stage.
CANDIDATES, TRAINING = "Candidates", "Training"
SAVING, MACHINE = "Spending less", "Machine and run"
NETWORKS = (1, 2)  # stages that choose networks
SEARCH_METAVAR = "DIR|URL"
DATA = option("Folder with train/ and val/ in labelv2 layout.", metavar="DIR")
# Whether an option may change when a search is resumed. `SHARED_RUNGS`: unless the rungs are
# complete, since it then shapes the learning rate of the trials.
Changes: TypeAlias = Literal["never", "always", "with shared rungs"]

_UNITS = {"": 1, "K": 10**3, "M": 10**6, "G": 10**9}
_LATENCY_PATTERN = re.compile(r"(\d{1,9}(?:\.\d{1,9})?)\s*(ms|s|)", re.IGNORECASE | re.ASCII)
_FLOPS_PATTERN = re.compile(r"(\d{1,18}(?:\.\d{1,18})?)\s*([KMG]?)", re.IGNORECASE | re.ASCII)


@dataclass(frozen=True, kw_only=True)
class StageOption(Option):
    """Declaration of an option of the stages; without `help` it has no flag.

    Attributes:
        stages: stages that have the option; 3 is `stage-sr`.
        inherited: whether stages 2 and 3 take the value of stage 1 by default.
        common: whether stages 1 and 2 must have the same value, since their leaderboards are
            read side by side.
        changes: whether the value may change when a search is resumed.
        in_file: whether a `--config` file may give it; computed values may not.
    """

    panel: str = CANDIDATES
    stages: tuple[int, ...] = (1, 2, 3)
    inherited: bool = False
    common: bool = False
    changes: Changes = "never"
    in_file: bool = True


def stage_option(help: str = "", **declaration: Any) -> dict[str, StageOption]:
    """Return metadata of a field with a `StageOption`; attributes are given by name."""
    return {OPTION: StageOption(help=help, **declaration)}


def reused(declared: Option, **declaration: Any) -> dict[str, StageOption]:
    """Return metadata of a stage's field from an option that is declared elsewhere."""
    return {OPTION: StageOption(**vars(declared) | declaration)}


def setting(name: str, **declaration: Any) -> dict[str, StageOption]:
    """Return metadata of a stage's field from an option of `TrialSettings`."""
    return reused(
        option_field(TrialSettings, name).option,
        **{"panel": TRAINING, "inherited": True} | declaration,
    )


@dataclass(frozen=True, kw_only=True)
class RecipeOptions:
    """Choice of a training recipe."""

    recipe: str = declared("reference", "Training recipe: reference, quick, or a YAML file.")
    batch_size: int | None = declared(
        None,
        "Images of an iteration.",
        default_text="the recipe's",
        flags=("--batch-size", "--batch"),
        minimum=1,
    )

    def load(self) -> Recipe:
        """Return the recipe. Raises ConfigError if there is no such recipe."""
        recipe = load_recipe(self.recipe)
        return recipe if self.batch_size is None else replace(recipe, batch_size=self.batch_size)


def parse_recipe(text: str) -> Mapping[str, Any]:
    """Return the recipe of a name or a YAML file as plain data. Raises ConfigError."""
    return load_recipe(text).to_dict()


def parse_flops(text: str) -> int:
    """Return the multiply-adds that a text states: `2.5G`, `500M`, `0.5g` or `2500000000`.

    Raises:
        ConfigError: the text is no such number, or not a whole number of at least 1.
    """
    match = _FLOPS_PATTERN.fullmatch(text.strip())
    if not match:
        raise ConfigError(f"FLOPs are a number such as 2.5G, 500M or 2500000000, got {text!r}")
    value = Decimal(match[1]) * _UNITS[match[2].upper()]
    if value < 1 or value != value.to_integral_value():
        raise ConfigError(f"FLOPs must be a whole number of at least 1, got {text!r}")
    return int(value)


def parse_latency(text: str) -> float:
    """Return the milliseconds that a text states: `4.2ms`, `4.2` or `0.0042s`.

    Raises:
        ConfigError: the text is no such number, or 0.
    """
    match = _LATENCY_PATTERN.fullmatch(text.strip())
    value = Decimal(match[1]) * (1000 if match[2].lower() == "s" else 1) if match else 0
    if not value:
        rule = "a latency is a number above 0 such as 4.2ms, 4.2 (milliseconds) or 0.0042s"
        raise ConfigError(f"{rule}, got {text!r}")
    return float(value)
