"""The charts of all stages of a search, and their captions."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from reports.figures.chart import COLOURS, Chart, colour, draw, legend, marker, panels, shortened
from reports.figures.points import METRICS, draw_points, label_of, name_points
from reports.search_data import StageData, results_table
from reports.statistics.population import best_so_far, edf, pareto_front
from search_spaces.errors import counted

ALL_NAMED = 12  # candidates that all have a label


def edf_chart(populations: Mapping[str, Sequence[float]], name: str = "edf") -> Chart:
    """Draw the error distributions of at least one population of hard APs, by name."""
    tables = []
    for label, hard in populations.items():
        error, share = edf([1 - value for value in hard])
        tables.append(pd.DataFrame({"population": label, "error": error, "share": share}))

    def paint(figure: Figure) -> None:
        axes = figure.subplots()
        for index, (label, table) in enumerate(zip(populations, tables, strict=True)):
            steps = np.concatenate([table["error"][:1], table["error"]])
            heights = np.concatenate([[0.0], table["share"]])
            text = f"{shortened(label)} (n = {len(populations[label])})"
            style = ("-", "--", "-.", ":")[index % 4]
            axes.step(steps, heights, style, where="post", color=colour(index), label=text)
        axes.set(xlabel="error (1 - hard AP)", ylabel="share of candidates", ylim=(0, 1.03))
        legend(figure, axes)

    caption = (
        "Share of the candidates with at most this error. The further left a curve, the better "
        "the whole population, not only its best member."
    )
    numbers = pd.concat(tables, ignore_index=True)
    return draw(name, "Error distributions", caption, numbers, paint)


def progress_chart(stages: Sequence[StageData]) -> Chart:
    """Draw the best hard AP against the epochs trained, of stages with results."""
    tables = []
    for stage in stages:
        ended = [c for c in stage.candidates if c.outcome is not None]
        ended.sort(key=lambda c: (c.ended is None, c.ended or 0.0, c.candidate))
        epochs, best = best_so_far([c.epochs for c in ended], [c.hard for c in ended])
        tables.append(pd.DataFrame({"stage": stage.stage, "epochs": epochs, "best_hard": best}))

    def paint(figure: Figure) -> None:
        axes = figure.subplots()
        for stage, table in zip(stages, tables, strict=True):
            index = stage.stage - 1
            axes.step(
                table["epochs"],
                table["best_hard"],
                where="post",
                color=colour(index),
                marker=marker(index),
                label=f"stage {stage.stage}",
            )
        axes.set(xlabel="epochs trained", ylabel="best hard AP so far")
        axes.set_xlim(left=0)
        legend(figure, axes)

    caption = (
        "Epochs of all ended trials, including failed and stopped ones, in the order of their ends "
        "(by number where the study has no times)."
    )
    numbers = pd.concat(tables, ignore_index=True)
    return draw("progress", "Best hard AP by epochs trained", caption, numbers, paint)


def cost_chart(stages: Sequence[StageData]) -> Chart:
    """Draw hard AP against cost, with the Pareto fronts, of stages with results."""
    tables = [results_table(stage.finished).assign(stage=stage.stage) for stage in stages]
    columns = ["stage", "candidate", "hard", "flops", "params", "latency_ms"]
    numbers = pd.concat(tables, ignore_index=True)[columns]
    shown = [name for name in columns[3:] if numbers[name].notna().any()]

    fronts = {name: _front(numbers, name) for name in shown}

    def paint(figure: Figure) -> None:
        all_axes = panels(figure, 1, len(shown), len(shown))
        for axes, name in zip(all_axes, shown, strict=True):
            known = numbers[numbers[name].notna()]
            for stage in stages:
                draw_points(axes, known[known["stage"] == stage.stage], name, stage.stage)
            front, scale = numbers.loc[fronts[name]], METRICS[name].scale
            line: Any = {"color": COLOURS["ink"], "lw": 1.5, "label": "Pareto front", "zorder": 1}
            axes.step(scale * front[name], front["hard"], where="post", **line)
            axes.set_xlabel(METRICS[name].label)
            axes.xaxis.set_major_locator(MaxNLocator(4))
        all_axes[0].set_ylabel("hard AP")
        legend(figure, all_axes[0])
        for axes, name in zip(all_axes, shown, strict=True):
            order = [*fronts[name][::-1], *(numbers.index if len(numbers) <= ALL_NAMED else ())]
            name_points(axes, numbers, name, dict.fromkeys(order))

    several = len(stages) > 1
    named = [
        f"{METRICS[name].short}: {', '.join(label_of(numbers.loc[i], several) for i in front)}"
        for name, front in fronts.items()
    ]
    caption = (
        "Pareto front: no other candidate is at least as good in both. Its candidates"
        f"{' (stage-number)' if several else ''}, cheapest first, by {'; by '.join(named)}. "
        f"{_measured(stages)}"
    )
    return draw("cost", "Hard AP and cost", caption, numbers, paint, (8.6, 3.8))


def _front(numbers: pd.DataFrame, name: str) -> list[int]:
    """Return the rows of the Pareto front of a cost, cheapest first."""
    known = numbers[numbers[name].notna()]
    return [int(known.index[i]) for i in pareto_front(known[name], known["hard"])]


def _measured(stages: Sequence[StageData]) -> str:
    """Return how the latencies were measured."""
    found = [c.latency for stage in stages for c in stage.candidates if c.latency]
    if not found:
        return (
            "Latency was not measured; `scrfd-nas report --latency` measures the best candidates."
        )
    one = found[0]
    threads = counted(one.threads, "thread")
    where = f"{one.runtime} on {one.device}, {threads}, {one.height} x {one.width}"
    return f"Latency: median of single images, {where}, of the {len(found)} measured."
