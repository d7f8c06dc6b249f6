"""Small networks, a small data set and made-up results: the inputs that many tests share."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from images import save_image

from search_spaces.architecture import Architecture, Backbone, Head, Neck
from search_spaces.network.detector import build_detector
from trials.data.widerface_mat import write_ground_truth
from trials.model_file import save_model
from trials.result import APs, EpochReport, TrialResult, load_result
from trials.training.metrics import read_metrics

TINY = Architecture(
    name="tiny",
    backbone=Backbone(block="depthwise", stem_widths=(4, 8), depths=(1,) * 4, widths=(8,) * 4),
    neck=Neck(width=8),
    head=Head(convs=1, width=8, depthwise=True, norm="group", groups=4),
)
FACE_XYXY = (20, 16, 60, 60)
HEIGHT, WIDTH = 80, 96  # of the images of `make_data`


def make_architecture(
    block: str = "basic",
    depths: int | tuple[int, ...] = 1,
    widths: int | tuple[int, ...] = 8,
    **head: Any,
) -> Architecture:
    """Return a detector with stem, neck and head of 8 channels; a number holds for all stages."""
    stem = (8, 8) if block == "depthwise" else (8,)
    depths = (depths,) * 4 if isinstance(depths, int) else depths
    widths = (widths,) * 4 if isinstance(widths, int) else widths
    return Architecture(
        backbone=Backbone(block=block, stem_widths=stem, depths=depths, widths=widths),
        neck=Neck(width=8),
        head=Head(**{"convs": 1, "width": 8, "groups": 8, **head}),
    )


def make_report(epoch: int, epochs: int, hard: float | None = None) -> EpochReport:
    """Return the report of a finished epoch, evaluated if it has a hard AP."""
    return EpochReport(
        epoch=epoch,
        epochs=epochs,
        loss=1.0,
        cls_loss=0.5,
        box_loss=0.25,
        keypoint_loss=0.25,
        learning_rate=0.01,
        images_per_second=10.0,
        aps=None if hard is None else APs(easy=1.0, medium=hard, hard=hard),
    )


def make_result(hard: float, epochs: int = 1, **changes: Any) -> TrialResult:
    """Return the result of a finished trial whose last epoch was its best."""
    result = TrialResult(
        easy=1.0,
        medium=hard,
        hard=hard,
        epochs=epochs,
        best_epoch=epochs,
        best_hard=hard,
        loss=1.0,
        duration_s=1.0,
        images_per_second=1.0,
        params=1,
    )
    return replace(result, **changes)


def interrupt_after(*epochs: int) -> Callable[[EpochReport], None]:
    """Return an `on_epoch` that raises KeyboardInterrupt after these epochs."""

    def interrupt(report: EpochReport) -> None:
        if report.epoch in epochs:
            raise KeyboardInterrupt

    return interrupt


def make_data(root: Path, num_train: int, num_val: int) -> Path:
    """Write noise images of 96 x 80 with one bright face each, and return `root`."""
    for split, count in (("train", num_train), ("val", num_val)):
        folder, rng, lines = root / split, np.random.default_rng(len(split)), []
        for number in range(count):
            pixels = rng.integers(0, 120, (HEIGHT, WIDTH, 3), np.uint8)
            left, top, right, bottom = FACE_XYXY
            pixels[top:bottom, left:right] += 120
            save_image(folder / "images" / "0--Party" / f"{number}.jpg", pixels)
            lines += [f"# 0--Party/{number}.jpg {WIDTH} {HEIGHT}", "20 16 60 60"]
        (folder / "labelv2.txt").write_text("\n".join(lines) + "\n")
    names = [f"0--Party/{number}" for number in range(num_val)]
    counted = {name: [0] for name in names}
    boxes = {name: np.array([[20.0, 16.0, 40.0, 44.0]]) for name in names}
    write_ground_truth(root / "val" / "gt", boxes, easy=counted, medium=counted, hard=counted)
    return root


def metrics_of(folder: Path) -> list[EpochReport]:
    """Return the reports in a trial's metrics file without their timing."""
    return [replace(report, images_per_second=1.0) for report in read_metrics(folder, epochs=5)]


def result_of(folder: Path) -> TrialResult:
    """Return the result of a finished trial."""
    result = load_result(folder)
    assert result is not None
    return result


def assert_same_outcome(folder: Path, other: Path) -> None:
    """Assert that two finished trials agree in all but their timing, in weights to the bit."""
    ours, theirs = (torch.load(path / "last.pt", weights_only=True) for path in (folder, other))
    for part in ("model", "average"):
        assert ours[part].keys() == theirs[part].keys()
        assert all(torch.equal(value, theirs[part][name]) for name, value in ours[part].items())
    assert metrics_of(folder) == metrics_of(other)
    one, two = (
        replace(result_of(path), duration_s=1.0, images_per_second=1.0) for path in (folder, other)
    )
    assert one == two


def save_eager(path: Path, architecture: Architecture) -> Path:
    """Write a model file whose detector finds faces everywhere, and return its path."""
    detector = build_detector(architecture, torch.Generator().manual_seed(0)).eval()
    with torch.no_grad():
        for conv in (*detector.head.scores, *detector.head.boxes):
            conv.bias.fill_(2.0)
    save_model(path, architecture, detector.state_dict())
    return path
