"""Settings of a trial (its length and size, which define the result, and its resources) and of
measured latencies."""

import math
import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from search_spaces.checks import require_integer
from search_spaces.errors import ConfigError, shown
from trials.options import check_options, declared

MULTIPLE = 32  # sides of inputs in pixels: the coarsest stride, so that all cells are whole
LARGEST = 8192  # side of an input in pixels
PRECISIONS = ("auto", "fp32", "bf16", "fp16")
CACHE_AUTO, CACHE_OFF = "auto", "off"
VALIDATION, HOLDOUT = "val", "holdout:"
LARGEST_SHARE = 0.5
AUGMENT_ON = ("auto", "cpu", "device")
RUNTIMES = ("onnxruntime", "torch")


def parse_select_on(text: object) -> float:
    """Return the held-out share of the training images: 0 for `val`, S for `holdout:S`.

    Raises:
        ConfigError: the text is neither, or S is not above 0 and at most 0.5.
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
    """Settings that a search fixes for all its trials.

    The metadata of the fields (`trials.options`) state what each sets, and its limits. The last
    epoch, the rungs and the epochs of `eval_at` are evaluated whatever `eval_every` is.

    Attributes:
        threads: CPU threads of torch; None leaves torch's setting alone.
        precision: `auto` is fp32 on a CPU, bf16 on a GPU that supports it, else fp16.
        loader_workers: None: no process besides a training on a CPU, all cores but one
            besides a training on a GPU.
        cache: `auto` keeps decoded images in the memory of the trial; a folder is shared by
            all trials of the machine, and stored as an absolute path.
        eval_at: further epochs to evaluate after, ascending and below `epochs`.
        workers: data-parallel processes, each with the batch size of the recipe.
        rungs: epochs after which a scheduler may stop the trial, ascending and below `epochs`.
            Each is evaluated and ends a complete learning-rate schedule, so that the networks
            compared there are fully trained (see `trials.training.schedule`).
        select_on: images that the APs are measured on: `val`, or `holdout:S`, a share S of
            the training images, which is not trained on (see `trials.data.holdout`).
    """

    epochs: int = declared(80, "Epochs of a training.", minimum=1, maximum=100_000)
    image_size: int = declared(
        640,
        "Side of the training crops in pixels, a multiple of 32; also the long side at evaluation.",
        minimum=MULTIPLE,
        maximum=LARGEST,
    )
    seed: int = declared(
        0, "Seed of weights, sample order and augmentation.", minimum=0, maximum=2**32 - 1
    )
    device: str = declared("auto", "auto (a GPU if there is one), cpu, cuda or cuda:N.")
    threads: int | None = declared(None, "CPU threads.", minimum=1, maximum=1024)
    precision: str = declared(
        "auto",
        "Floating-point precision of the training.",
        default_text="auto, fp32 on a CPU, bf16 or fp16 on a GPU",
        choices=PRECISIONS,
    )
    loader_workers: int | None = declared(
        None,
        "Processes of a trial that prepare images.",
        default_text="its cores but one on a GPU, else 0",
        minimum=0,
        maximum=256,
    )
    cache: str = declared(
        CACHE_AUTO,
        "Where decoded images are kept: auto (in the trial's memory), off, or a "
        "folder that all trials of a machine share.",
        metavar="auto|off|DIR",
    )
    cache_gb: float | None = declared(
        None,
        "Limit of the decoded images, in gigabytes.",
        default_text="0.5 in memory, 40 in a folder",
        minimum=0,
        maximum=1_000_000,
    )
    augment_on: str = declared(
        "auto",
        "Where images are cropped, resized and flipped; auto: on a GPU that trains.",
        choices=AUGMENT_ON,
    )
    eval_every: int = declared(
        0, "Epochs between evaluations; 0: only after the last epoch.", minimum=0, maximum=100_000
    )
    eval_at: tuple[int, ...] = ()
    workers: int = declared(1, minimum=1, maximum=4096)
    rungs: tuple[int, ...] = ()
    select_on: str = declared(
        VALIDATION,
        "Images that the AP is measured on: val, or a share of the training images "
        "that is not trained on, such as holdout:0.1.",
        metavar="val|holdout:SHARE",
    )

    def __post_init__(self) -> None:
        check_options(self)
        if self.image_size % MULTIPLE:
            raise ConfigError(f"image_size must be a multiple of {MULTIPLE}, got {self.image_size}")
        if not isinstance(self.device, str) or not self.device:
            raise ConfigError(f"device must be text such as auto, cpu, cuda:0, got {self.device!r}")
        object.__setattr__(self, "cache", _checked_cache(self.cache))
        for name in ("rungs", "eval_at"):
            checked = _checked_epochs(name, getattr(self, name), self.epochs)
            object.__setattr__(self, name, checked)
        object.__setattr__(self, "select_on", format_select_on(parse_select_on(self.select_on)))

    @property
    def held_out(self) -> float:
        """Share of the training images that is held out and evaluated on; 0: none."""
        return parse_select_on(self.select_on)

    def comparable(self) -> dict[str, Any]:
        """Return the settings that define the result; the others may differ from run to run.

        Rungs and held-out images are left out where there are none.
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


@dataclass(frozen=True, kw_only=True)
class LatencyOptions:
    """Conditions under which a latency is measured: one image at a time, the network alone."""

    runtime: str = declared(
        RUNTIMES[0], "onnxruntime (CPU) or torch (GPU if there is one).", choices=RUNTIMES
    )
    threads: int = declared(1, "CPU threads.", minimum=1)
    size: tuple[int, int] = declared(
        (480, 640), "Height and width of the input.", metavar="H W", default_text="480 640"
    )
    runs: int = declared(100, "Runs to time after the warm-up.", minimum=1)

    def __post_init__(self) -> None:
        check_options(self)
        if not isinstance(self.size, Sequence) or len(self.size) != 2:
            raise ConfigError(f"the size must be a height and a width, got {shown(self.size)}")
        size = tuple(require_integer(side, "a side of the size", 1, LARGEST) for side in self.size)
        object.__setattr__(self, "size", size)


def _checked_cache(cache: object) -> str:
    """Return `auto`, `off`, or the absolute path of a folder. Raises ConfigError."""
    if cache is False:  # YAML reads `off` so
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
