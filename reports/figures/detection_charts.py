"""Charts of recorded evaluations: precision-recall curves, and recall and AP by face height."""

from collections.abc import Mapping

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from reports.figures.chart import Chart, colour, draw, legend, marker, panels, shortened
from reports.figures.tips import Tip, add_tips
from reports.statistics.face_sizes import HeightBin, by_height
from trials.evaluation.record import EvaluationRecord
from trials.evaluation.widerface_ap import average_precision, precision_recall
from trials.result import SUBSETS

Records = Mapping[str, EvaluationRecord]

POINTS = 200  # of a curve
SCALES = {"input": "face height in the network's input", "image": "face height in the image"}
STYLES = ("-", "--", "-.", ":")


def precision_recall_chart(records: Records, stage: int) -> Chart:
    """Draw precision against recall in easy, medium and hard, of candidates by name."""
    parts = [_curve(name, record) for name, record in records.items()]
    table = pd.concat(parts, ignore_index=True)

    def paint(figure: Figure) -> None:
        all_axes = panels(figure, 1, len(SUBSETS), len(SUBSETS))
        for column, (axes, subset) in enumerate(zip(all_axes, SUBSETS, strict=True)):
            for index, (name, record) in enumerate(records.items()):
                ap = average_precision(record.matches, record.counted_F3[:, column])
                shown = table[(table["name"] == name) & (table["subset"] == subset)]
                label = f"{shortened(name)}: {ap:.3f}"
                style = STYLES[index % len(STYLES)]
                (line,) = axes.plot(
                    shown["recall"], shown["precision"], style, color=colour(index), label=label
                )
                add_tips(line, [_tip(name, stage, f"{subset} AP {ap:.4f}")])
            axes.set(title=f"{subset} (AP)", xlabel="recall", xlim=(0, 1), ylim=(0, 1.02))
            axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.17), fontsize=8.5)
        all_axes[0].set_ylabel("precision")

    caption = (
        "The last epoch at the 1,000 thresholds of the WIDER FACE evaluation. The AP is the area "
        "under the curve after making it monotone."
    )
    title = f"Stage {stage}: precision and recall of the best"
    return draw(f"precision_recall_stage{stage}", title, caption, table, paint, (8.6, 3.9))


def face_size_chart(records: Records, stage: int) -> Chart:
    """Draw recall and AP by the height of the faces, of candidates by name."""
    parts = [
        pd.DataFrame(by_height(record, height_F), columns=list(HeightBin._fields)).assign(
            name=name, scale=scale
        )
        for name, record in records.items()
        for scale, height_F in heights(record).items()
    ]
    table = pd.concat(parts, ignore_index=True)

    def paint(figure: Figure) -> None:
        grid = figure.subplots(2, 2, sharey="row", squeeze=False)
        for column, (scale, label) in enumerate(SCALES.items()):
            here = table[table["scale"] == scale]
            for axes, value in zip(grid[:, column], ("recall", "ap"), strict=True):
                _lines(axes, here, value, list(records), stage)
            grid[1, column].set_xlabel(f"{label}, pixels (faces)")
        for axes, value, label in zip(grid[:, 0], ("recall", "ap"), ("recall", "AP"), strict=True):
            highest = table[value].to_numpy().max(initial=0.01)
            axes.set(ylabel=label, ylim=(0, min(1.02, 1.1 * highest)))  # of both columns
        legend(figure, grid[0, 0])

    caption = (
        "Faces that count as hard. Recall: share of the faces found at the threshold at which the "
        "candidate's F1 is highest. AP: as in WIDER FACE, where only the faces of this height "
        "count. The network's input is the image as resized for the evaluation."
    )
    title = f"Stage {stage}: recall and AP by face height"
    return draw(f"face_sizes_stage{stage}", title, caption, table, paint, (8.6, 4.8))


def heights(record: EvaluationRecord) -> dict[str, np.ndarray]:
    """Return the heights of the faces at the scales of `SCALES`."""
    return {"input": record.height_F * record.scale_F, "image": record.height_F}


def height_range(low: float, high: float) -> str:
    """Return a bin of heights as text."""
    return f"{low:g} to {high:g}" if np.isfinite(high) else f"{low:g} or more"


def _curve(name: str, record: EvaluationRecord) -> pd.DataFrame:
    """Return the curves of a candidate, each in at most `POINTS` points."""
    tables = []
    for subset, counted_F in zip(SUBSETS, record.counted_F3.T, strict=True):
        precision_T, recall_T = precision_recall(record.matches, counted_F)
        distinct = np.flatnonzero(np.diff(recall_T, prepend=0) > 0)
        places = np.unique(np.linspace(0, len(distinct) - 1, POINTS).round().astype(int))
        shown = distinct[places] if len(distinct) else distinct
        content = {"recall": recall_T[shown], "precision": precision_T[shown]}
        tables.append(pd.DataFrame({"name": name, "subset": subset, **content}))
    return pd.concat(tables, ignore_index=True)


def _lines(axes: Axes, table: pd.DataFrame, value: str, names: list[str], stage: int) -> None:
    """Draw a column of `by_height` for each candidate, in bins at equal distances."""
    bins = table[["low", "high", "faces"]].drop_duplicates("low").sort_values("low")
    places = {low: place for place, low in enumerate(bins["low"])}
    for index, name in enumerate(names):
        shown = table[table["name"] == name]
        (line,) = axes.plot(
            shown["low"].map(places),
            shown[value],
            STYLES[index % len(STYLES)],
            color=colour(index),
            marker=marker(index),
            label=shortened(name),
        )
        texts = (
            f"{value} {row[value]:.4f} of {row['faces']:,} faces of "
            f"{height_range(row['low'], row['high'])} pixels"
            for row in shown.to_dict("records")
        )
        add_tips(line, [_tip(name, stage, text) for text in texts])
    ticks = [
        f"{height_range(low, high).replace(' or more', '+')}\n({faces:,})"
        for low, high, faces in zip(bins["low"], bins["high"], bins["faces"], strict=True)
    ]
    axes.set_xticks(range(len(bins)), ticks)


def _tip(name: str, stage: int, text: str) -> Tip:
    """Return a tip that also marks the row of a candidate of this stage."""
    return Tip(f"{stage}-{name.removeprefix('candidate ')}", f"{name}: {text}")
