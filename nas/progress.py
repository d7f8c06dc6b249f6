"""One display for a whole stage, fed by the executor's events."""

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING

from nas.status import StageStatus, best_of
from nas.tasks import TrialEvent
from trials.result import Outcome, TrialResult

if TYPE_CHECKING:
    from rich.console import Console

PLAIN_INTERVAL_S = 30.0


class SearchProgress:
    """Counts what happens in one stage.

    Args:
        stage: 1 or 2.
        epochs: of each trial.
        epochs_done: by candidate, for all candidates, when the driver started.
        outcomes: of the candidates that had one by then.
        clock: seconds; for tests.
    """

    def __init__(
        self,
        stage: int,
        epochs: int,
        epochs_done: Mapping[int, int],
        outcomes: Mapping[int, Outcome],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._stage, self._epochs, self._clock = stage, epochs, clock
        self._done, self._outcomes = dict(epochs_done), dict(outcomes)
        self._running: set[int] = set()
        self._before = sum(self._done.values())
        self._started = clock()

    def note(self, event: TrialEvent, outcome: Outcome | None) -> None:
        """Count an event; `outcome` is that of a finished or failed trial."""
        number = event.number
        if event.kind in ("started", "epoch"):
            self._running.add(number)
        else:
            self._running.discard(number)
        if event.kind == "epoch":
            self._done[number] = max(self._done.get(number, 0), event.epoch)
        if outcome is not None:
            self._outcomes[number] = outcome

    def status(self) -> StageStatus:
        """Where the stage stands."""
        failed = {n for n, o in self._outcomes.items() if not isinstance(o, TrialResult)}
        done = sum(self._done.values())
        total = sum(self._done[n] if n in failed else self._epochs for n in self._done)
        best = best_of(self._outcomes)
        return StageStatus(
            stage=self._stage,
            candidates=len(self._done),
            finished=len(self._outcomes) - len(failed),
            failed=len(failed),
            running=len(self._running),
            waiting=len(self._done) - len(self._outcomes) - len(self._running),
            best_hard=best[1] if best else None,
            best_candidate=best[0] if best else None,
            epochs_done=done,
            epochs_total=total,
            seconds_left=self._seconds_left(done, total),
            active=True,
        )

    def _seconds_left(self, done: int, total: int) -> float | None:
        if done <= self._before:
            return None
        pace = (self._clock() - self._started) / (done - self._before)
        return max(0.0, pace * (total - done))


Update = Callable[[StageStatus, str], None]


@contextmanager
def shown(console: "Console") -> Iterator[Update]:
    """Show statuses on `console`: one live line on a terminal, now and then a line elsewhere.

    Yields a function of the status and a note; a note that is not empty is always printed.
    """
    with _live(console) if console.is_terminal else _plain(console) as update:
        yield update


@contextmanager
def _live(console: "Console") -> Iterator[Update]:
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn
    from rich.table import Column

    text = TextColumn("{task.description}", markup=False, table_column=Column(no_wrap=False))
    with Progress(
        text, BarColumn(bar_width=20), TaskProgressColumn(), console=console, redirect_stdout=False
    ) as bar:
        task = bar.add_task("starting", total=None)

        def update(status: StageStatus, note: str) -> None:
            if note:
                bar.console.print(note, markup=False, soft_wrap=True)
            total = max(status.epochs_total, 1)
            bar.update(
                task, description=status.describe(), total=total, completed=status.epochs_done
            )

        yield update


@contextmanager
def _plain(console: "Console") -> Iterator[Update]:
    printed = [float("-inf")]

    def update(status: StageStatus, note: str) -> None:
        now = time.monotonic()
        if note:
            console.print(note, markup=False, soft_wrap=True)
        elif now - printed[0] < PLAIN_INTERVAL_S:
            return
        printed[0] = now
        console.print(status.describe(), markup=False, soft_wrap=True)

    yield update
