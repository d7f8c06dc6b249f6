"""The charts of a search and their captions."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator

from reports.costs import SHARES
from reports.figures.chart import COLOURS, Chart, colour, draw, legend, marker, panels, shortened
from reports.figures.shares import range_of_best
from reports.search_data import CandidateData, SamplerDraws, StageData, results_table
from reports.statistics.population import best_so_far, edf, pareto_front
from search_spaces.cost.detector import PARTS
from trials.result import TrialStopped

BINS = 60
NAMED = 3  # best curves that have a label
MARKED = 15  # points of a curve that have a marker
MARKS = {"stopped": "x", "promoted": "+"}  # decisions of the scheduler


@dataclass(frozen=True)
class Metric:
    """Label and scale factor of a column on an axis."""

    label: str
    scale: float = 1.0


METRICS = {
    "flops": Metric("G FLOPs (multiply-adds at VGA)", 1e-9),
    "params": Metric("M parameters", 1e-6),
    "latency_ms": Metric("ms per image at VGA"),
    **{f"share_{part}": Metric(f"{part}, % of FLOPs", 100) for part in PARTS},
}


def shares_chart(stage: StageData) -> Chart:
    """Draw hard AP against the share of compute of each part, with the range of the best."""
    numbers = results_table(stage.finished)

    def paint(figure: Figure) -> None:
        all_axes = panels(figure, 2, 4, len(SHARES))
        for axes, share in zip(all_axes, SHARES, strict=True):
            _range_of_best(axes, numbers, share)
            _points(axes, numbers, share, stage.stage)
            axes.set_xlabel(METRICS[share].label)
        for axes in (all_axes[0], all_axes[4]):
            axes.set_ylabel("hard AP")
            axes.margins(y=0.1)  # shared by all

    caption = (
        "Each point is a candidate; the best has a ring. Band and line: 95 % interval and median "
        "of the share of the best candidate in 10,000 draws of a quarter of the candidates "
        "(empirical bootstrap)."
    )
    title = f"Stage {stage.stage}: hard AP and distribution of compute"
    return draw(f"shares_stage{stage.stage}", title, caption, numbers, paint, (8.6, 4.8))


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
        legend(axes, loc="best")

    caption = (
        "Share of the candidates with at most this error. The further left a curve, the better "
        "the whole population, not only its best member."
    )
    numbers = pd.concat(tables, ignore_index=True)
    return draw(name, "Error distributions", caption, numbers, paint)


def curves_chart(stage: StageData) -> Chart:
    """Draw hard AP and training loss by epoch, with the decisions of the scheduler."""
    named = {c.candidate: index for index, c in enumerate(stage.finished[:NAMED])}

    def paint(figure: Figure) -> None:
        left, right = figure.subplots(1, 2, sharex=True)
        for candidate in sorted(stage.candidates, key=lambda c: -named.get(c.candidate, NAMED)):
            _curve(left, right, candidate, named.get(candidate.candidate))
        _decisions(left, stage)
        left.set(xlabel="epoch", ylabel="hard AP")
        right.set(xlabel="epoch", ylabel="training loss")
        for axes in (left, right):
            axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        legend(left, loc="best", reverse=True)

    caption = "The best three are coloured."
    if any(isinstance(c.outcome, TrialStopped) for c in stage.candidates) or stage.decisions:
        caption += (
            " A cross marks a trial that the scheduler stopped, a plus one that it continued."
        )
    title = f"Stage {stage.stage}: learning curves"
    return draw(f"curves_stage{stage.stage}", title, caption, _curve_table(stage), paint)


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
        legend(axes, loc="lower right")

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

    def paint(figure: Figure) -> None:
        all_axes = panels(figure, 1, len(shown), len(shown))
        for axes, name in zip(all_axes, shown, strict=True):
            known = numbers[numbers[name].notna()]
            for stage in stages:
                _points(axes, known[known["stage"] == stage.stage], name, stage.stage, ring=False)
            _front(axes, known, name)
            axes.set_xlabel(METRICS[name].label)
        all_axes[0].set_ylabel("hard AP")
        legend(all_axes[0], loc="best")

    caption = "The line is the Pareto front: no other candidate is better in both. " + _measured(
        stages
    )
    return draw("cost", "Hard AP and cost", caption, numbers, paint)


def sampler_chart(draws: SamplerDraws, stage: int) -> Chart:
    """Draw the FLOPs of the sampler's draws, and the window of accepted ones."""
    positive = draws.flops[draws.flops > 0]
    low, high = (np.log10(v) for v in (max(positive.min(), 1), positive.max() + 1))
    edges = np.logspace(low, max(high, low + 0.1), BINS + 1)
    counts, _ = np.histogram(positive, edges)
    table = pd.DataFrame({"flops_from": edges[:-1], "flops_to": edges[1:], "draws": counts})

    def paint(figure: Figure) -> None:
        axes = figure.subplots()
        axes.stairs(counts, edges / 1e9, fill=True, color=COLOURS["blue"], label="all draws")
        window = [value / 1e9 for value in draws.window]
        axes.axvspan(*window, color=COLOURS["orange"], label="accepted", lw=1)
        axes.set(xscale="log", xlabel=METRICS["flops"].label, ylabel="draws")
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        legend(axes, loc="upper right")

    total = len(draws.flops)
    odds = f", 1 in {total / draws.accepted:,.0f}" if draws.accepted else ""
    caption = (
        f"{total:,} raw draws with the seed of the search: {draws.accepted:,} accepted{odds}. The "
        "closed-form cost rejects the others before a network is built."
    )
    title = f"Stage {stage}: accepted and rejected draws of the sampler"
    return draw(f"sampler_stage{stage}", title, caption, table, paint, (8.6, 2.8))


def _range_of_best(axes: Axes, numbers: pd.DataFrame, name: str) -> None:
    if numbers.empty:
        return
    found, scale = range_of_best(numbers, name), METRICS[name].scale
    axes.axvspan(scale * found.low, scale * found.high, color=COLOURS["band"], lw=0, zorder=0.5)
    axes.axvline(scale * found.median, color=COLOURS["blue"], lw=1, ls="--")


def _points(axes: Axes, numbers: pd.DataFrame, name: str, stage: int, ring: bool = True) -> None:
    """Draw hard AP against a column; the first row is the best candidate."""
    index = stage - 1
    values, hard = METRICS[name].scale * numbers[name], numbers["hard"]
    style: Any = {"color": colour(index), "marker": marker(index), "linestyle": "none"}
    axes.plot(values, hard, alpha=0.75, markersize=4.5, mew=0, label=f"stage {stage}", **style)
    if ring:
        ringed: Any = {"marker": "o", "mfc": "none", "mec": COLOURS["ink"], "linestyle": "none"}
        axes.plot(values[:1], hard[:1], markersize=10, mew=1.3, **ringed)
    axes.xaxis.set_major_locator(MaxNLocator(4))


def _front(axes: Axes, numbers: pd.DataFrame, name: str) -> None:
    front = numbers.iloc[pareto_front(numbers[name], numbers["hard"])]
    values = METRICS[name].scale * front[name]
    axes.step(values, front["hard"], where="post", color=COLOURS["ink"], lw=1, zorder=1)


def _curve(left: Axes, right: Axes, candidate: CandidateData, place: int | None) -> None:
    """Draw a curve: with a label if it has a `place` among the best, in grey otherwise."""
    if candidate.curve is None:
        return
    style: dict[str, Any] = {"color": COLOURS["grey"], "lw": 0.8, "alpha": 0.55}
    if place is not None:
        style = {"color": colour(place), "marker": marker(place), "markersize": 3.5}
        style["label"] = f"{place + 1}. candidate {candidate.candidate}"
    for axes, values in ((left, candidate.curve.hard), (right, candidate.curve.loss)):
        sparse: dict[str, Any] = {"markevery": 1 + len(values) // MARKED}
        if len(values) == 1 and place is None:
            sparse["marker"] = "."
        axes.plot(list(values), list(values.values()), **{**style, **sparse})


def _decisions(axes: Axes, stage: StageData) -> None:
    """Mark where the scheduler stopped or promoted a trial."""
    curves = {c.candidate: c.curve.hard for c in stage.candidates if c.curve is not None}
    found = {(d.candidate, d.epoch, d.kind) for d in stage.decisions}
    for candidate in stage.candidates:
        if isinstance(candidate.outcome, TrialStopped):
            found.add((candidate.candidate, candidate.outcome.epoch, "stopped"))
    for kind, mark in MARKS.items():
        points = sorted((n, e) for n, e, what in found if what == kind and e in curves.get(n, {}))
        axes.plot(
            [epoch for _, epoch in points],
            [curves[number][epoch] for number, epoch in points],
            mark,
            color=COLOURS["ink"],
            markersize=6,
        )


def _curve_table(stage: StageData) -> pd.DataFrame:
    rows = []
    for candidate in stage.candidates:
        curve = candidate.curve
        for epoch in sorted({*curve.hard, *curve.loss}) if curve else ():
            values = (curve.hard.get(epoch), curve.loss.get(epoch)) if curve else ()
            rows.append((candidate.candidate, epoch, *values))
    return pd.DataFrame(rows, columns=["candidate", "epoch", "hard", "loss"])


def _measured(stages: Sequence[StageData]) -> str:
    """Return how the latencies were measured."""
    found = [c.latency for stage in stages for c in stage.candidates if c.latency]
    if not found:
        return (
            "Latency was not measured; `scrfd-nas report --latency` measures the best candidates."
        )
    one = found[0]
    threads = "1 thread" if one.threads == 1 else f"{one.threads} threads"
    where = f"{one.runtime} on {one.device}, {threads}, {one.height} x {one.width}"
    return f"Latency: median of single images, {where}, of the {len(found)} measured."
