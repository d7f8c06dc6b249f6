"""How a stage stands, from its files alone, so that any terminal can ask."""

import time
from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from nas.search.crop_search import crop_shares
from nas.search.directory import SearchDir
from nas.search.request import AnyRequest, RedistributionRequest
from nas.storage.driver_lock import Driver
from nas.study.study import read_study
from reports.leaderboard import Row
from reports.statistics.confirmation import confirmed
from trials.result import Outcome, TrialResult


@dataclass(frozen=True, kw_only=True)
class StageStatus:
    """How one stage stands.

    Attributes:
        stage: 1 or 2.
        candidates: how many there are; the five counts below add up to it.
        finished, stopped, failed, running, waiting: trials by state; interrupted ones wait.
        best_hard, best_candidate: highest hard AP so far and whose it is.
        epochs_done, epochs_total: over all trials; one that failed or was stopped has no
            epochs to come, and how many will be stopped is not foreseen.
        seconds_left: estimate; None while there is nothing to estimate it from.
        active: whether a driver is running the stage.
    """

    stage: int
    candidates: int
    finished: int
    stopped: int
    failed: int
    running: int
    waiting: int
    best_hard: float | None
    best_candidate: int | None
    epochs_done: int
    epochs_total: int
    seconds_left: float | None
    active: bool

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON data."""
        return asdict(self)

    @property
    def done(self) -> int:
        """Of `total`, for a progress bar."""
        return self.epochs_done

    @property
    def total(self) -> int:
        """What a progress bar counts to."""
        return self.epochs_total

    def describe(self) -> str:
        """One line for people."""
        counts = [f"{self.finished}/{self.candidates} finished", f"{self.running} running"]
        counts += [f"{self.stopped} stopped early"] if self.stopped else []
        counts += [f"{self.failed} failed"] if self.failed else []
        text = f"stage {self.stage}: {', '.join(counts)}"
        if self.best_hard is not None:
            text += f", best hard AP {self.best_hard:.4f} (candidate {self.best_candidate})"
        if self.seconds_left is not None and self.waiting + self.running:
            text += f", {describe_seconds(self.seconds_left)} left"
        return text


def best_of(outcomes: Mapping[int, Outcome]) -> tuple[int, float] | None:
    """The candidate with the highest hard AP, the lowest number among equals."""
    finished = {n: o.hard for n, o in outcomes.items() if isinstance(o, TrialResult)}
    if not finished:
        return None
    number = min(finished, key=lambda candidate: (-finished[candidate], candidate))
    return number, finished[number]


def stage_status(
    stage: int,
    epochs: int,
    done: Mapping[int, int],
    outcomes: Mapping[int, Outcome],
    running: Collection[int],
    *,
    expected: int = 0,
    pace: float | None,
    active: bool,
) -> StageStatus:
    """A status from what is known of the stage's trials.

    Args:
        stage, active: as in `StageStatus`.
        epochs: of a whole trial.
        done: epochs behind each candidate.
        outcomes: of those that have one.
        running: candidates that are being trained.
        expected: candidates that there will be, where not all are chosen yet.
        pace: seconds an epoch of the whole stage takes, None if it is not known.
    """
    candidates = max(expected, len(done))
    states = Counter(outcome.state for outcome in outcomes.values())
    ended = {n for n, outcome in outcomes.items() if not isinstance(outcome, TrialResult)}
    total = sum(done[n] if n in ended else epochs for n in done)
    total += epochs * (candidates - len(done))
    best = best_of(outcomes)
    return StageStatus(
        stage=stage,
        candidates=candidates,
        finished=states["finished"],
        stopped=states["stopped"],
        failed=states["failed"],
        running=len(running),
        waiting=candidates - len(outcomes) - len(running),
        best_hard=best[1] if best else None,
        best_candidate=best[0] if best else None,
        epochs_done=sum(done.values()),
        epochs_total=total,
        seconds_left=None if pace is None else max(0.0, pace * (total - sum(done.values()))),
        active=active,
    )


def read_status(directory: SearchDir, stage: int) -> StageStatus:
    """The stage's status now. Raises ConfigError if `search.yaml` is damaged."""
    request = directory.requests()[stage]
    numbers, outcomes = directory.numbers(stage), directory.outcomes(stage)
    driver = directory.driver()
    active = driver is not None and driver.stage == stage
    done = {number: directory.epochs_done(stage, number) for number in numbers}
    return stage_status(
        stage,
        request.epochs,
        done,
        outcomes,
        _running(directory, stage) - set(outcomes) if active else set(),
        pace=_pace(driver, sum(done.values())) if active else None,
        active=active,
    )


def stage_rows(directory: SearchDir, stage: int, *, is_over: bool = False) -> list[Row]:
    """The stage's candidates for a leaderboard.

    Where the stage's run `is_over`, the study is not asked which trials are running.
    """
    request = directory.requests().get(stage)
    outcomes = directory.outcomes(stage)
    driver = directory.driver()
    is_asked = not is_over and driver is not None and driver.stage == stage
    running = _running(directory, stage) if is_asked else set()
    rows = []
    for number, architecture in directory.candidates(stage).items():
        epochs = directory.epochs_done(stage, number)
        state = "running" if number in running else "interrupted" if epochs else "waiting"
        rows.append(
            Row(
                candidate=number,
                architecture=architecture,
                outcome=outcomes.get(number),
                state=state,
                epochs=epochs,
                select_on=request.select_on if request else "val",
                crops=_crops(request, number),
                hards=_hards(directory, stage, number, outcomes.get(number)),
            )
        )
    return rows


def _crops(request: AnyRequest | None, number: int) -> dict[float, float]:
    """Probability by crop scale, in the stage that searches them."""
    searched = isinstance(request, RedistributionRequest)
    return crop_shares(request.recipe_of(number)) if request and searched else {}


def confirmed_best(directory: SearchDir, stage: int) -> tuple[int, float] | None:
    """The candidate with the highest mean over several seeds; None if none was confirmed."""
    outcomes = directory.outcomes(stage)
    hards = {n: _hards(directory, stage, n, outcome) for n, outcome in outcomes.items()}
    found = confirmed(hards)
    return next(((number, item.mean) for number, item in found.items()), None)


def _hards(
    directory: SearchDir, stage: int, number: int, outcome: Outcome | None
) -> tuple[float, ...]:
    """Hard APs of a finished candidate: of the search's seed, then of other seeds."""
    if not isinstance(outcome, TrialResult):
        return ()
    return (outcome.hard, *directory.hards_by_seed(stage, number).values())


def describe_seconds(seconds: float) -> str:
    """`45 s`, `12 min`, `3.5 h`, `2.1 d`."""
    for unit, size, limit in (("s", 1, 90), ("min", 60, 5400), ("h", 3600, 172800)):
        if seconds < limit:
            return f"{seconds / size:.{0 if size < 3600 else 1}f} {unit}"
    return f"{seconds / 86400:.1f} d"


def _running(directory: SearchDir, stage: int) -> set[int]:
    records = read_study(directory.study_place(stage), stage)
    return {record.candidate for record in records if record.state == "running"}


def _pace(driver: Driver | None, done: int) -> float | None:
    """Seconds an epoch at the pace that the driver has kept so far."""
    if driver is None or done <= driver.epochs_before:
        return None
    passed_s = time.time() - driver.started  # below 0 where the clock was set back
    return passed_s / (done - driver.epochs_before) if passed_s > 0 else None
