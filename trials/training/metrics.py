"""`metrics.csv`: a line an epoch, for people and for other programs."""

import csv
import io
import os
from collections.abc import Iterable
from dataclasses import fields
from pathlib import Path

from search_spaces.files import write_text
from trials.result import EpochReport

METRICS_FILE = "metrics.csv"
LOSSES = ("loss", "cls_loss", "box_loss", "keypoint_loss", "learning_rate", "images_per_second")
COLUMNS = ("epoch", *LOSSES, "easy", "medium", "hard")


def write_metrics(reports: Iterable[EpochReport], folder: str | os.PathLike[str]) -> None:
    """Write `folder/metrics.csv` whole; APs are empty where an epoch was not evaluated."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    for report in reports:
        losses = [f"{getattr(report, name):.6g}" for name in LOSSES]
        aps = report.aps
        values = [f"{getattr(aps, f.name):.6f}" for f in fields(aps)] if aps else ["", "", ""]
        writer.writerow([report.epoch, *losses, *values])
    write_text(Path(folder) / METRICS_FILE, text.getvalue())
