"""Sentences on the best candidate of a stage and the significance of its lead."""

import numpy as np

from reports.figures.shares import share_table
from reports.page.text import percent
from reports.search_data import CandidateData, StageData
from reports.statistics.confirmation import Confirmed, confirmed
from reports.statistics.population import FEW, curve_noise, quarter, shows_noise
from search_spaces.cost.detector import PARTS

WORTH = 0.01  # of the FLOPs: smaller differences are not reported
_NORMAL_95 = 1.96


def why_it_wins(stage: StageData) -> list[str]:
    """Return sentences on the best candidate of a stage, or one sentence if there is none."""
    finished = stage.finished
    if not finished:
        return [f"No candidate of stage {stage.stage} has finished: there is no winner yet."]
    best = finished[0]
    if len(finished) == 1:
        return [f"Candidate {best.candidate} is the only finished one: there is no comparison."]
    sentences = [_lead(stage), _trust(stage), _spending(stage)]
    return [*sentences, _agreement(stage) if len(finished) >= FEW else _too_few(stage)]


def noise_threshold(stage: StageData) -> float | None:
    """Return the difference of two hard APs that evaluation noise alone exceeds in 5 % of cases.

    Estimated from the last epochs of the curves (see `curve_noise`). Seeds add further noise, so
    this is a lower limit. None without a curve that shows it (`shows_noise`).
    """
    curves = [c.curve.hard for c in stage.finished if c.curve is not None]
    noise = curve_noise([list(hard.values()) for hard in curves if shows_noise(list(hard))])
    return None if noise is None else _NORMAL_95 * float(np.sqrt(2)) * noise


def _lead(stage: StageData) -> str:
    best, second = stage.finished[:2]
    finished, everyone = len(stage.finished), len(stage.candidates)
    group = f"{finished} of {everyone}" if finished < everyone else f"{finished}"
    hards = [_hard(candidate) for candidate in stage.finished]
    found = _confirmed(stage).get(best.candidate)
    if found is not None:
        return (
            f"Candidate {best.candidate} leads the {group} finished candidates with a mean hard AP "
            f"of {found.mean:.4f} over {found.seeds} seeds (95 %: {found.low:.4f} to "
            f"{found.high:.4f}); the median of all with the seed of the search is "
            f"{np.median(hards):.4f}."
        )
    return (
        f"Candidate {best.candidate} leads the {group} finished candidates with hard AP "
        f"{hards[0]:.4f}, {hards[0] - hards[1]:.4f} ahead of candidate {second.candidate}; "
        f"the median is {np.median(hards):.4f}."
    )


def _trust(stage: StageData) -> str:
    """Return whether the lead is larger than noise."""
    found = _confirmed(stage)
    if not found:
        return _one_seed(stage)
    ties = [number for number, item in found.items() if item.tie == 1][1:]
    if ties:
        names = ", ".join(map(str, ties))
        return (
            f"Among the {len(found)} candidates that were trained with several seeds it does not "
            f"differ significantly from {names}: the lead is within the spread of the seeds."
        )
    if len(found) == 1:
        return "No other candidate was trained with several seeds, so its lead is not confirmed."
    return (
        f"Its lead over the other {len(found) - 1} that were trained with several seeds is larger "
        "than the spread of the seeds (t-test, 5 %)."
    )


def _one_seed(stage: StageData) -> str:
    text = f"{len(stage.finished)} candidates, one seed each: "
    least = noise_threshold(stage)
    if least is None:
        return text + (
            "the noise cannot be estimated from this search; treat small differences as ties "
            "until `scrfd-nas confirm` has trained the best candidates with other seeds."
        )
    near = sum(_hard(stage.finished[0]) - _hard(c) < least for c in stage.finished[1:])
    others = "1 other is" if near == 1 else f"{near} others are"
    verdict = f"{others} as close to the best" if near else "the lead is larger"
    return text + (
        f"a difference below {least:.4f} is within the noise of the last epochs, and seeds add "
        f"more noise; {verdict}. `scrfd-nas confirm` trains the best with other seeds."
    )


def _spending(stage: StageData) -> str:
    """Return the parts on which the winner differs most from the median candidate."""
    table = share_table(stage)
    order = (table["best"] - table["median"]).abs().sort_values(ascending=False, kind="stable")
    pieces = []
    for index in order.index[:3]:
        row = table.loc[index]
        pieces.append(f"{row['part']} {percent(row['best'])} (median {percent(row['median'])})")
    best = stage.finished[0]
    parts = ", ".join(pieces)
    return f"The FLOPs of candidate {best.candidate} differ most from the others in {parts}."


def _agreement(stage: StageData) -> str:
    """Return the parts on which the best agree: their range excludes the median of all."""
    table = share_table(stage)
    named = [
        f"{'more' if row['low'] > row['median'] else 'less'} in {row['part']} "
        f"({percent(row['low'])} to {percent(row['high'])}, median of all "
        f"{percent(row['median'])})"
        for _, row in table.iterrows()
        if not row["low"] <= row["median"] <= row["high"]
        and abs(row["middle"] - row["median"]) >= WORTH
    ]
    drawn = f"the best of {quarter(len(stage.finished))} drawn candidates"
    if not named:
        return (
            f"For every part the range of the share of {drawn} includes the median of all: these "
            f"{len(stage.finished)} candidates do not show where compute should go."
        )
    others = len(PARTS) - len(named)
    rest = f" The other {others} parts show no difference." if others else ""
    return f"In 95 % of the draws {drawn} spends {'; '.join(named)}.{rest}"


def _too_few(stage: StageData) -> str:
    return (
        f"{len(stage.finished)} candidates are too few to show where compute should go; at least "
        f"{FEW} are needed."
    )


def _confirmed(stage: StageData) -> dict[int, Confirmed]:
    return confirmed({candidate.candidate: candidate.hards for candidate in stage.finished})


def _hard(candidate: CandidateData) -> float:
    return candidate.hard or 0.0
