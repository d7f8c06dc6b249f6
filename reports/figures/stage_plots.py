"""The charts of one stage and their captions."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator

from reports.costs import SHARES
from reports.figures.chart import COLOURS, Chart, colour, draw, legend, marker, panels
from reports.figures.points import METRICS, draw_points, name_points
from reports.figures.shares import range_of_best
from reports.figures.tips import Tip, add_tips
from reports.search_data import CandidateData, SamplerDraws, StageData, results_table
from reports.statistics.population import FEW
from trials.result import TrialStopped

BINS = 60
NAMED = 3  # best candidates that have a label and coloured curves
MARKED = 15  # points of a curve that have a marker
MARKS = {"stopped": "x", "promoted": "+"}  # decisions of the scheduler


def shares_chart(stage: StageData) -> Chart:
    """Draw hard AP against the share of compute of each part, with the range of the best."""
    numbers = results_table(stage.finished)
    ranged = len(numbers) >= FEW

    def paint(figure: Figure) -> None:
        all_axes = panels(figure, 2, 4, len(SHARES), sharex=True)
        for axes, share in zip(all_axes, SHARES, strict=True):
            if ranged:
                _range_of_best(axes, numbers, share)
            draw_points(axes, numbers, share, stage.stage, ring=True)
            axes.set_xlabel(METRICS[share].label)
            axes.tick_params(labelbottom=True)
            axes.xaxis.set_major_locator(MaxNLocator(4))
        for axes in (all_axes[0], all_axes[4]):
            axes.set_ylabel("hard AP")
            axes.margins(y=0.1)  # shared by all
        all_axes[0].set_xlim(left=0)
        legend(figure, all_axes[0])
        for axes, share in zip(all_axes, SHARES, strict=True):
            name_points(axes, numbers, share, range(NAMED))

    caption = "All panels have the same scales. Numbers name candidates, by hard AP."
    if ranged:
        caption += (
            " Band and line: 95 % interval and median of the share of the best candidate in 10,000 "
            "draws of a quarter of the candidates (empirical bootstrap)."
        )
    title = f"Stage {stage.stage}: hard AP and distribution of compute"
    return draw(f"shares_stage{stage.stage}", title, caption, numbers, paint, (8.6, 5.2))


def curves_chart(stage: StageData) -> Chart:
    """Draw hard AP and training loss by epoch, with the decisions of the scheduler."""
    named = [c.candidate for c in stage.finished[:NAMED]]

    def paint(figure: Figure) -> None:
        left, right = figure.subplots(1, 2, sharex=True)
        for candidate in stage.candidates:
            if candidate.candidate not in named:
                _curve((left, right), stage.stage, candidate, None)
        for place, candidate in enumerate(stage.finished[:NAMED]):
            _curve((left, right), stage.stage, candidate, place)
        _decisions(left, stage)
        left.set(xlabel="epoch", ylabel="hard AP")
        right.set(xlabel="epoch", ylabel="training loss")
        for axes in (left, right):
            axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        legend(figure, left)

    caption = "The best three are coloured."
    if any(isinstance(c.outcome, TrialStopped) for c in stage.candidates) or stage.decisions:
        caption += (
            " A cross marks a trial that the scheduler stopped, a plus one that it continued."
        )
    title = f"Stage {stage.stage}: learning curves"
    return draw(f"curves_stage{stage.stage}", title, caption, _curve_table(stage), paint)


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
        low, high = (value / 1e9 for value in draws.window)
        accepted = draws.accepted * np.log(edges[1] / edges[0]) / np.log(high / low)
        inside: Any = {"align": "edge", "color": COLOURS["orange"], "label": "accepted"}
        axes.bar(low, accepted, high - low, **inside)
        axes.set(xscale="log", xlabel=METRICS["flops"].label, ylabel="draws")
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        legend(figure, axes)

    total = len(draws.flops)
    odds = f", 1 in {total / draws.accepted:,.0f}" if draws.accepted else ""
    caption = (
        f"{total:,} raw draws with the seed of the search: {draws.accepted:,} accepted{odds}. "
        "Equal areas are equal counts. The closed-form cost rejects the others before a network is "
        "built."
    )
    title = f"Stage {stage}: accepted and rejected draws of the sampler"
    return draw(f"sampler_stage{stage}", title, caption, table, paint, (8.6, 2.8))


def _range_of_best(axes: Axes, numbers: pd.DataFrame, name: str) -> None:
    if numbers.empty:
        return
    found, scale = range_of_best(numbers, name), METRICS[name].scale
    axes.axvspan(scale * found.low, scale * found.high, color=COLOURS["band"], lw=0, zorder=0.5)
    axes.axvline(scale * found.median, color=COLOURS["blue"], lw=1, ls="--")


def _curve(both: Sequence[Axes], stage: int, candidate: CandidateData, place: int | None) -> None:
    """Draw a curve: with a label if it has a `place` among the best, in grey otherwise."""
    if candidate.curve is None:
        return
    style: dict[str, Any] = {"color": COLOURS["grey"], "lw": 0.8, "alpha": 0.55}
    if place is not None:
        style = {"color": colour(place), "marker": marker(place), "markersize": 3.5}
        style["label"] = f"{place + 1}. candidate {candidate.candidate}"
    values: Mapping[int, float]
    for axes, values in zip(both, (candidate.curve.hard, candidate.curve.loss), strict=True):
        sparse: dict[str, Any] = {"markevery": 1 + len(values) // MARKED}
        if len(values) == 1 and place is None:
            sparse["marker"] = "."
        (line,) = axes.plot(list(values), list(values.values()), **{**style, **sparse})
        if values:
            last = f"{list(values.values())[-1]:.4f} after epoch {list(values)[-1]}"
            text = f"stage {stage}, candidate {candidate.candidate}: {last}"
            add_tips(line, [Tip(f"{stage}-{candidate.candidate}", text)])


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
