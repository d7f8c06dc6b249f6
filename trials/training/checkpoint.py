"""Checkpoints of a trial: the newest one and the one before it."""

import os
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from search_spaces.errors import DataError, IncomparableError
from trials.model_file import read_tensors, write_tensors
from trials.result import LAST, PREVIOUS
from trials.training.progress import Progress

_FAMILY = "scrfd-nas checkpoint"
FORMAT = f"{_FAMILY} 2"
STATE = ("model", "optimizer", "average", "average_updates", "scaler")


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """Everything that a training needs to resume between two iterations.

    It holds no random state: samples follow from (seed, epoch, index) and the learning rate
    from the iteration.

    Attributes:
        request: fingerprint of the trial's request; no other request may resume it.
        progress: finished epochs and the sums of the current one.
        state: the `state_dict` of `trials.training.state.Training`, with the keys `STATE`.
    """

    request: str
    progress: Progress
    state: dict[str, Any]


def save_checkpoint(checkpoint: Checkpoint, folder: str | os.PathLike[str]) -> None:
    """Write `checkpoint` as the newest one of `folder` and keep the one before it.

    A process killed at any moment leaves at least one whole checkpoint.
    """
    last = Path(folder) / LAST
    content = {
        "format": FORMAT,
        "request": checkpoint.request,
        "progress": asdict(checkpoint.progress),
        **checkpoint.state,
    }

    def keep_previous() -> None:
        if last.exists():
            os.replace(last, last.with_name(PREVIOUS))

    write_tensors(content, last, on_written=keep_previous)


def load_checkpoint(
    folder: str | os.PathLike[str], warn: Callable[[str], None]
) -> Checkpoint | None:
    """Return the newest undamaged checkpoint of `folder`, or None.

    A damaged one is reported to `warn` and the one before it is used: the iterations since
    then are trained again, with the same outcome.

    Raises:
        IncomparableError: another version of this program wrote the checkpoint.
    """
    paths = [path for path in (Path(folder) / LAST, Path(folder) / PREVIOUS) if path.exists()]
    for path in paths:
        try:
            return _parsed(read_tensors(path), path)
        except DataError as error:
            is_last = path == paths[-1]
            instead = "training from the beginning" if is_last else "using the one before it"
            warn(f"{error}; {instead}")
    return None


def _parsed(content: Any, path: Path) -> Checkpoint:
    found = content.get("format") if isinstance(content, Mapping) else None
    if not isinstance(found, str) or not found.startswith(_FAMILY):
        raise DataError(f"{path}: is not a checkpoint of this program ({FORMAT!r})")
    if found != FORMAT:
        raise IncomparableError(
            f"{path}: the checkpoint's format must be {FORMAT!r}, got {found!r}; resume it with "
            "the version that wrote it, or remove it to train from the beginning"
        )
    try:
        return Checkpoint(
            request=content["request"],
            progress=Progress.from_dict(content["progress"]),
            state={name: content[name] for name in STATE},
        )
    except (TypeError, KeyError, ValueError) as error:
        raise DataError(f"{path}: is not a whole checkpoint ({error})") from error
