"""One display for a whole stage, fed by the executor's events."""

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Protocol

from nas.monitoring.status import StageStatus, stage_status
from nas.search.events import TrialEvent
from trials.result import Outcome

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
        expected: candidates that there will be, where not all are chosen yet.
    """

    def __init__(
        self,
        stage: int,
        epochs: int,
        epochs_done: Mapping[int, int],
        outcomes: Mapping[int, Outcome],
        clock: Callable[[], float] = time.monotonic,
        *,
        expected: int = 0,
    ) -> None:
        self._stage, self._epochs, self._clock = stage, epochs, clock
        self._expected = expected
        self._done, self._outcomes = dict(epochs_done), dict(outcomes)
        self._running: set[int] = set()
        self._before = sum(self._done.values())
        self._started = clock()

    def note(self, event: TrialEvent, outcome: Outcome | None) -> None:
        """Count an event; `outcome` is that of a trial that has ended."""
        number = event.number
        self._done.setdefault(number, 0)
        if event.kind in ("started", "epoch"):
            self._running.add(number)
        elif event.kind != "promoted":
            self._running.discard(number)
        if event.kind == "epoch":
            self._done[number] = max(self._done.get(number, 0), event.epoch)
        if outcome is not None:
            self._outcomes[number] = outcome

    def forget(self, number: int) -> None:
        """A candidate that had ended is taken up again."""
        self._outcomes.pop(number, None)

    def status(self) -> StageStatus:
        """Where the stage stands."""
        return stage_status(
            self._stage,
            self._epochs,
            self._done,
            self._outcomes,
            self._running,
            expected=self._expected,
            pace=self._pace(),
            active=True,
        )

    def _pace(self) -> float | None:
        new = sum(self._done.values()) - self._before
        return (self._clock() - self._started) / new if new > 0 else None


class Showable(Protocol):
    """What a display shows: a line, and a bar of `done` out of `total`."""

    @property
    def done(self) -> int:
        """Of `total`."""

    @property
    def total(self) -> int:
        """What the bar counts to."""

    def describe(self) -> str:
        """One line for people."""


Update = Callable[[Showable, str], None]


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

        def update(status: Showable, note: str) -> None:
            if note:
                bar.console.print(note, markup=False, soft_wrap=True)
            total = max(status.total, 1)
            bar.update(task, description=status.describe(), total=total, completed=status.done)

        yield update


@contextmanager
def _plain(console: "Console") -> Iterator[Update]:
    printed = [float("-inf")]

    def update(status: Showable, note: str) -> None:
        now = time.monotonic()
        if note:
            console.print(note, markup=False, soft_wrap=True)
        elif now - printed[0] < PLAIN_INTERVAL_S:
            return
        printed[0] = now
        console.print(status.describe(), markup=False, soft_wrap=True)

    yield update
