"""Settings of a trial: its length and size, which define the result, and its resources."""

import math
import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from search_spaces.checks import require_integer, require_number
from search_spaces.errors import ConfigError

PRECISIONS = ("auto", "fp32", "bf16", "fp16")
CACHE_AUTO, CACHE_OFF = "auto", "off"
VALIDATION, HOLDOUT = "val", "holdout:"
LARGEST_SHARE = 0.5
AUGMENT_ON = ("auto", "cpu", "device")
LARGEST_CACHE_GB = 1_000_000
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


def parse_select_on(text: object) -> float:
    """Return the held-out share of the training images: 0 for `val`, S for `holdout:S`.

    Raises:
        ConfigError: the text is neither, or the share is not above 0 and at most a half.
    """
    rule = f"select_on must be {VALIDATION}, or {HOLDOUT}SHARE with a share up to {LARGEST_SHARE}"
    if text == VALIDATION:
        return 0.0
    if not isinstance(text, str) or not text.startswith(HOLDOUT):
        raise ConfigError(f"{rule}, got {text!r}")
    try:
        share = float(text.removeprefix(HOLDOUT))
    except ValueError:
        share = math.nan
    if not 0.0 < share <= LARGEST_SHARE:
        raise ConfigError(f"{rule}, got {text!r}")
    return share


def format_select_on(share: float) -> str:
    """Return the canonical text of a share, the inverse of `parse_select_on`."""
    return f"{HOLDOUT}{share!r}" if share else VALIDATION


@dataclass(frozen=True, kw_only=True)
class TrialSettings:
    """Settings that all trials of a search share.

    Attributes:
        epochs: passes over the training images.
        image_size: side of the square training crops, and long side at evaluation.
        seed: seed of weights, sample order and augmentation.
        device: `auto` (the GPU if there is one), `cpu`, `cuda`, `cuda:N`.
        threads: CPU threads of torch; None keeps torch's own setting.
        precision: `fp32`, `bf16`, `fp16`, or `auto`: fp32 on CPU, bf16 on a GPU that has it.
        loader_workers: processes that prepare samples; None: 0 on a CPU, all cores but one
            with a GPU.
        cache: location of decoded images: `auto` (memory of this trial), `off`, or a folder
            that all trials of a machine share, which is made absolute.
        cache_gb: largest size of the cache in 10^9 bytes; None: 0.5 in memory, 40 in a folder.
        augment_on: where images are cropped, resized and flipped: `cpu`, `device`, or `auto`:
            on the GPU if the trial has one.
        eval_every: epochs between evaluations; 0: only the last epoch. The last epoch, the
            rungs and the epochs of `eval_at` are always evaluated.
        eval_at: further epochs to evaluate, ascending and below `epochs`.
        workers: number of data-parallel processes, each with the recipe's batch size.
        rungs: epochs after which a scheduler may stop the trial, ascending and below
            `epochs`. Each is evaluated and ends a complete learning-rate schedule, so that
            trials compared there are fully trained (see `trials.training.schedule`).
        select_on: images that the APs are measured on: `val`, or `holdout:S`, a share S of
            the training images, which are then not trained on (see `trials.data.holdout`).
    """

    epochs: int = 80
    image_size: int = 640
    seed: int = 0
    device: str = "auto"
    threads: int | None = None
    precision: str = "auto"
    loader_workers: int | None = None
    cache: str = CACHE_AUTO
    cache_gb: float | None = None
    augment_on: str = "auto"
    eval_every: int = 0
    eval_at: tuple[int, ...] = ()
    workers: int = 1
    rungs: tuple[int, ...] = ()
    select_on: str = VALIDATION

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
        if self.augment_on not in AUGMENT_ON:
            raise ConfigError(f"augment_on must be one of {AUGMENT_ON}, got {self.augment_on!r}")
        object.__setattr__(self, "cache", _checked_cache(self.cache, self.cache_gb))
        for name in ("rungs", "eval_at"):
            checked = _checked_epochs(name, getattr(self, name), self.epochs)
            object.__setattr__(self, name, checked)
        object.__setattr__(self, "select_on", format_select_on(parse_select_on(self.select_on)))

    @property
    def held_out(self) -> float:
        """Share of the training images that is held out for evaluation, 0 for none."""
        return parse_select_on(self.select_on)

    def comparable(self) -> dict[str, Any]:
        """Return the settings that define the result; the others may change between runs.

        Rungs and held-out images are absent at their defaults.
        """
        content: dict[str, Any] = {
            "epochs": self.epochs,
            "image_size": self.image_size,
            "seed": self.seed,
            "precision": self.precision,
            "workers": self.workers,
        }
        if self.rungs:
            content["rungs"] = list(self.rungs)
        if self.held_out:
            content["select_on"] = self.select_on
        return content

    def is_evaluated(self, epoch: int) -> bool:
        """Return whether epoch `epoch`, counted from 1, ends with an evaluation."""
        if epoch == self.epochs or epoch in self.rungs or epoch in self.eval_at:
            return True
        return self.eval_every > 0 and epoch % self.eval_every == 0


def _checked_cache(cache: object, cache_gb: object) -> str:
    """Return `auto`, `off`, or the absolute path of a folder. Raises ConfigError."""
    if cache_gb is not None:
        require_number(cache_gb, "cache_gb", 0, LARGEST_CACHE_GB)
    if cache is False:  # YAML reads the word off as False
        return CACHE_OFF
    if not isinstance(cache, str) or not cache:
        raise ConfigError(f"cache must be auto, off or a folder, got {cache!r}")
    if cache in (CACHE_AUTO, CACHE_OFF):
        return cache
    return os.path.abspath(os.path.expanduser(cache))


def _checked_epochs(name: str, given: object, epochs: int) -> tuple[int, ...]:
    """Return distinct epochs from 1 to below `epochs`, ascending. Raises ConfigError."""
    if not isinstance(given, Sequence) or isinstance(given, str):
        raise ConfigError(f"{name} must be a list of epochs, got {given!r}")
    checked = tuple(require_integer(epoch, f"an epoch of {name}", 1) for epoch in given)
    if list(checked) != sorted(set(checked)) or any(epoch >= epochs for epoch in checked):
        rule = f"{name} must ascend and stay below the {epochs} epochs"
        raise ConfigError(f"{rule}, got {list(checked)}")
    return checked
