"""Candidates as points of a figure: hard AP against a cost."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import pandas as pd
from matplotlib.axes import Axes

from reports.figures.chart import COLOURS, colour, marker
from reports.figures.tips import Tip, add_labels, add_tips
from search_spaces.cost.detector import PARTS


@dataclass(frozen=True)
class Metric:
    """Label and scale factor of a column on an axis, and its name in a sentence."""

    label: str
    scale: float = 1.0
    short: str = ""


METRICS = {
    "flops": Metric("G FLOPs (multiply-adds at VGA)", 1e-9, "FLOPs"),
    "params": Metric("M parameters", 1e-6, "parameters"),
    "latency_ms": Metric("ms per image at VGA", short="latency"),
    **{f"share_{part}": Metric(f"{part}, % of FLOPs", 100) for part in PARTS},
}


def draw_points(
    axes: Axes, numbers: pd.DataFrame, name: str, stage: int, *, ring: bool = False
) -> None:
    """Draw hard AP against a column; the first row is the best candidate, which may have a ring."""
    index, scale = stage - 1, METRICS[name].scale
    style: Any = {"color": colour(index), "marker": marker(index), "linestyle": "none"}
    label = "candidate" if ring else f"stage {stage}"
    (line,) = axes.plot(
        scale * numbers[name], numbers["hard"], alpha=0.75, ms=5, mew=0, label=label, **style
    )
    add_tips(line, [_tip(row, stage, name) for _, row in numbers.iterrows()])
    if ring:
        ringed: Any = {"marker": "o", "mfc": "none", "mec": COLOURS["ink"], "linestyle": "none"}
        best = numbers.iloc[:1]
        axes.plot(scale * best[name], best["hard"], ms=11, mew=1.3, label="winner", **ringed)


def name_points(axes: Axes, numbers: pd.DataFrame, name: str, chosen: Iterable[int]) -> None:
    """Write the candidate's number at some of the points, by their places in the table."""
    known = numbers[numbers[name].notna()]
    several = "stage" in known and known["stage"].nunique() > 1
    rows: list[Any] = [known.loc[index] for index in chosen if index in known.index]
    scale = METRICS[name].scale
    add_labels(axes, [(scale * row[name], row["hard"], label_of(row, several)) for row in rows])


def label_of(row: Any, several: bool) -> str:
    """Return a candidate's number, with that of its stage if there are several."""
    return f"{row['stage']:.0f}-{row['candidate']:.0f}" if several else f"{row['candidate']:.0f}"


def _tip(row: Any, stage: int, name: str) -> Tip:
    number, value = int(row["candidate"]), METRICS[name].scale * row[name]
    text = f"stage {stage}, candidate {number}: hard AP {row['hard']:.4f}, "
    return Tip(f"{stage}-{number}", f"{text}{value:.4g} {METRICS[name].label}")
