"""`metrics.csv`: the reports of a trial's finished epochs, one in each row."""

import csv
import io
import os
from collections.abc import Iterable
from pathlib import Path

from search_spaces.files import write_text
from trials.result import LOSSES, METRICS_FILE, SUBSETS, APs, EpochReport

VALUES = (*LOSSES, "learning_rate", "images_per_second")
COLUMNS = ("epoch", *VALUES, *SUBSETS)


def write_metrics(reports: Iterable[EpochReport], folder: str | os.PathLike[str]) -> None:
    """Write `folder/metrics.csv` atomically; APs are empty where an epoch has none."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    for report in reports:
        values = [f"{getattr(report, name):.6g}" for name in VALUES]
        aps = report.aps.as_dict() if report.aps else dict.fromkeys(SUBSETS)
        shown = ["" if ap is None else f"{ap:.6f}" for ap in aps.values()]
        writer.writerow([report.epoch, *values, *shown])
    write_text(Path(folder) / METRICS_FILE, text.getvalue())


def read_metrics(folder: str | os.PathLike[str], epochs: int) -> list[EpochReport]:
    """Return the reports in `folder/metrics.csv`, none if there is no such file.

    The file does not hold `epochs`, the length of the trial.
    """
    try:
        text = (Path(folder) / METRICS_FILE).read_text(encoding="utf-8")
    except OSError:
        return []
    return [_report(row, epochs) for row in csv.DictReader(io.StringIO(text))]


def _report(row: dict[str, str], epochs: int) -> EpochReport:
    values = {name: float(row[name]) for name in VALUES}
    aps = APs(**{name: float(row[name]) for name in SUBSETS}) if row["hard"] else None
    return EpochReport(epoch=int(row["epoch"]), epochs=epochs, **values, aps=aps)
