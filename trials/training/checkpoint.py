"""The state of a training between two iterations, on disk: the newest and the one before."""

import os
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from search_spaces.errors import DataError
from trials.model_file import read_tensors, write_tensors
from trials.result import APs, EpochReport
from trials.training.epoch_sums import EpochSums

FORMAT = "scrfd-nas checkpoint 1"
LAST, PREVIOUS, BEST = "last.pt", "previous.pt", "best.pt"


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """Everything that a training needs to go on as if it had never stopped.

    Samples follow from (seed, epoch, index), the learning rate from the iteration, so no
    random state has to be kept.

    Attributes:
        request: fingerprint of what was asked for; another request must not resume it.
        reports: one for each finished epoch.
        train_s: seconds spent so far in training and evaluation.
        images_trained, step_s: for the mean throughput.
        model, optimizer: state dicts.
        average: state dict of the moving average, None without one.
        average_updates: how often the average was updated.
        scaler: state of the fp16 gradient scaler, empty without one.
        begun: what the epoch after the finished ones has added up, where it has begun.
    """

    request: str
    reports: tuple[EpochReport, ...]
    train_s: float
    images_trained: int
    step_s: float
    model: dict[str, torch.Tensor]
    optimizer: dict[str, Any]
    average: dict[str, torch.Tensor] | None
    average_updates: int
    scaler: dict[str, Any]
    begun: EpochSums | None = None

    @property
    def epoch(self) -> int:
        """Epochs finished."""
        return len(self.reports)


def save_checkpoint(checkpoint: Checkpoint, folder: str | os.PathLike[str]) -> None:
    """Make `checkpoint` the newest of `folder`; the newest until now is kept as the one before.

    A process killed at any moment leaves at least one whole checkpoint.
    """
    last = Path(folder) / LAST
    content: dict[str, Any] = {
        field: getattr(checkpoint, field) for field in checkpoint.__dataclass_fields__
    }
    content["reports"] = [asdict(report) for report in checkpoint.reports]
    content["begun"] = asdict(checkpoint.begun) if checkpoint.begun else None

    def keep_the_one_before() -> None:
        if last.exists():
            os.replace(last, last.with_name(PREVIOUS))

    write_tensors({"format": FORMAT, **content}, last, on_written=keep_the_one_before)


def load_checkpoint(
    folder: str | os.PathLike[str], warn: Callable[[str], None]
) -> Checkpoint | None:
    """The newest undamaged checkpoint, None if there is none.

    A damaged one is reported to `warn`, and the one before it is taken: the epochs since
    are trained again, with the same outcome.
    """
    for name in (LAST, PREVIOUS):
        path = Path(folder) / name
        if not path.exists():
            continue
        try:
            return _parsed(read_tensors(path), path)
        except DataError as error:
            warn(f"{error}; falling back to what there was before it")
    return None


def _parsed(content: Any, path: Path) -> Checkpoint:
    if not isinstance(content, Mapping) or content.get("format") != FORMAT:
        raise DataError(f"{path}: is not a checkpoint of this program ({FORMAT!r})")
    values = {key: value for key, value in content.items() if key != "format"}
    try:
        values["reports"] = tuple(_report(report) for report in values["reports"])
        if values.get("begun") is not None:
            values["begun"] = EpochSums(**values["begun"])
        return Checkpoint(**values)
    except (TypeError, KeyError, ValueError) as error:
        raise DataError(f"{path}: is not a whole checkpoint ({error})") from error


def _report(content: Mapping[str, Any]) -> EpochReport:
    aps = content["aps"]
    return EpochReport(**{**content, "aps": APs(**aps) if aps is not None else None})
