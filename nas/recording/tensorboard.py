"""TensorBoard logs of a training: one scalar for each curve, written after every epoch."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

from trials.result import EpochReport

FOLDER = "tensorboard"
LOSSES = {
    "loss/total": "loss",
    "loss/score": "cls_loss",
    "loss/box": "box_loss",
    "loss/keypoints": "keypoint_loss",
    "train/learning_rate": "learning_rate",
    "train/images_per_second": "images_per_second",
}


@contextmanager
def tensorboard_log(folder: Path) -> Iterator[Callable[[EpochReport], None]]:
    """Yield a function that adds an epoch to the logs in `folder/tensorboard`.

    The folder is created with the first epoch; a continued training adds to it. Without
    tensorboardX (a dependency of `ray[tune]`) and TensorBoard nothing is written: the metrics
    file has the same numbers.
    """
    writers: list[Any] = []

    def add(report: EpochReport) -> None:
        if not writers:
            writers.append(_open_writer(folder / FOLDER, report.epoch))
        if writers[0] is not None:
            _add(writers[0], report)

    try:
        yield add
    finally:
        for writer in filter(None, writers):
            writer.close()


def scalars(report: EpochReport) -> dict[str, float]:
    """Return the points that an epoch adds, by the name of their curve."""
    values = {tag: float(getattr(report, name)) for tag, name in LOSSES.items()}
    aps = asdict(report.aps) if report.aps else {}
    return values | {f"ap/{name}": value for name, value in aps.items()}


def _add(writer: Any, report: EpochReport) -> None:
    for tag, value in scalars(report).items():
        writer.add_scalar(tag, value, report.epoch)
    writer.flush()


def _open_writer(folder: Path, epoch: int) -> Any:
    try:
        from tensorboardX import SummaryWriter  # type: ignore[import-untyped]
    except ImportError:
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError:
            return None
    # The library names files by the second: a run continued at once would replace the first file.
    return SummaryWriter(str(folder), filename_suffix=f".{epoch}")
