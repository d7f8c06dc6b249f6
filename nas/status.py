"""How a stage stands, from its files alone, so that any terminal can ask."""

import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from nas.search_dir import Driver, SearchDir
from nas.study import read_study
from reports.leaderboard import Row
from trials.result import Outcome, TrialResult


@dataclass(frozen=True, kw_only=True)
class StageStatus:
    """How one stage stands.

    Attributes:
        stage: 1 or 2.
        candidates: how many there are; the four counts below add up to it.
        finished, failed, running, waiting: trials by state; interrupted ones wait.
        best_hard, best_candidate: highest hard AP so far and whose it is.
        epochs_done, epochs_total: over all trials; a failed one has no epochs to come.
        seconds_left: estimate; None while there is nothing to estimate it from.
        active: whether a driver is running the stage.
    """

    stage: int
    candidates: int
    finished: int
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

    def describe(self) -> str:
        """One line for people."""
        counts = [f"{self.finished}/{self.candidates} finished", f"{self.running} running"]
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


def read_status(directory: SearchDir, stage: int) -> StageStatus:
    """The stage's status now. Raises ConfigError if `search.yaml` is damaged."""
    request = directory.requests()[stage]
    numbers, outcomes = directory.numbers(stage), directory.outcomes(stage)
    driver = directory.driver()
    active = driver is not None and driver.stage == stage
    running = _running(directory, stage) - set(outcomes) if active else set()
    done = {number: directory.epochs_done(stage, number) for number in numbers}
    failed = {number for number, o in outcomes.items() if not isinstance(o, TrialResult)}
    total = sum(done[n] if n in failed else request.epochs for n in numbers)
    best = best_of(outcomes)
    return StageStatus(
        stage=stage,
        candidates=len(numbers),
        finished=len(outcomes) - len(failed),
        failed=len(failed),
        running=len(running),
        waiting=len(numbers) - len(outcomes) - len(running),
        best_hard=best[1] if best else None,
        best_candidate=best[0] if best else None,
        epochs_done=sum(done.values()),
        epochs_total=total,
        seconds_left=_seconds_left(driver, sum(done.values()), total) if active else None,
        active=active,
    )


def stage_rows(directory: SearchDir, stage: int) -> list[Row]:
    """The stage's candidates for a leaderboard."""
    outcomes = directory.outcomes(stage)
    driver = directory.driver()
    running = _running(directory, stage) if driver and driver.stage == stage else set()
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
            )
        )
    return rows


def describe_seconds(seconds: float) -> str:
    """`45 s`, `12 min`, `3.5 h`, `2.1 d`."""
    for unit, size, limit in (("s", 1, 90), ("min", 60, 5400), ("h", 3600, 172800)):
        if seconds < limit:
            return f"{seconds / size:.{0 if size < 3600 else 1}f} {unit}"
    return f"{seconds / 86400:.1f} d"


def _running(directory: SearchDir, stage: int) -> set[int]:
    records = read_study(directory.journal, stage)
    return {record.candidate for record in records if record.state == "running"}


def _seconds_left(driver: Driver | None, done: int, total: int) -> float | None:
    """Epochs to come at the pace that the driver has kept so far."""
    if driver is None or done <= driver.epochs_before:
        return None
    pace = (time.time() - driver.started) / (done - driver.epochs_before)
    return max(0.0, pace * (total - done))
