"""Display of a running stage, fed by the events of its trials."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Protocol

from nas.monitoring.status import StageCounts, StageStatus
from nas.search.events import TrialEvent
from trials.result import Outcome, TrialResult

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress

PLAIN_INTERVAL_S = 30.0


class Showable(Protocol):
    """Status that a display shows as a line and as a bar of `done` out of `total`."""

    @property
    def done(self) -> int:
        """Part of `total` that is done."""

    @property
    def total(self) -> int:
        """Value at which the bar is full."""

    def describe(self) -> str:
        """Return one line of text."""


class Display(Protocol):
    """Output of a running stage for the user."""

    def log(self, text: str) -> None:
        """Print a line that stays."""

    def show(self, status: Showable) -> None:
        """Show a status in place of the one before."""


class SearchProgress:
    """Subscriber that counts the events of a stage and displays them.

    Args:
        counts: Trials when the driver started; changed by the events.
        display: Receives a line about every end and failure, and every status.
        outcome_of: Recorded outcome of a trial.
        name_of: Name of a trial in the display.
        clock: Seconds; for tests.
    """

    def __init__(
        self,
        counts: StageCounts,
        display: Display,
        outcome_of: Callable[[int], Outcome | None],
        name_of: Callable[[int], str] = "candidate {}".format,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._counts, self._display, self._clock = counts, display, clock
        self._outcome_of, self._name_of = outcome_of, name_of
        self._before, self._started = counts.total_done, clock()

    def __call__(self, event: TrialEvent) -> None:
        """Count one event and display it."""
        outcome = self._outcome_of(event.number) if event.is_end else None
        self._counts.add(event, outcome)
        if text := describe_event(event, outcome, self._name_of(event.number)):
            self._display.log(text)
        self.show()

    def show(self) -> None:
        """Display the present status."""
        self._display.show(self.status())

    def forget(self, number: int) -> None:
        """Count a trial that had ended as waiting."""
        self._counts.forget(number)

    def status(self) -> StageStatus:
        """Return the status of the stage."""
        new = self._counts.total_done - self._before
        pace = (self._clock() - self._started) / new if new > 0 else None
        return self._counts.status(pace=pace, active=True)


def describe_event(event: TrialEvent, outcome: Outcome | None, name: str) -> str:
    """Return a line about a failed attempt or a trial's end; empty for other events."""
    if event.kind == "retried" and event.failure:
        return f"{name}: {event.failure.reason}; it is tried again"
    if outcome is None:
        return ""
    if isinstance(outcome, TrialResult):
        return f"{name}: hard AP {outcome.hard:.4f}"
    return f"{name} {outcome.state}: {outcome.reason}"


@contextmanager
def shown(console: "Console") -> Iterator[Display]:
    """Yield a display on `console`: one live line on a terminal, now and then a line elsewhere."""
    if not console.is_terminal:
        yield _PlainDisplay(console)
        return
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn
    from rich.table import Column

    text = TextColumn("{task.description}", markup=False, table_column=Column(no_wrap=False))
    with Progress(
        text, BarColumn(bar_width=20), TaskProgressColumn(), console=console, redirect_stdout=False
    ) as bar:
        yield _LiveDisplay(bar)


class _LiveDisplay:
    def __init__(self, bar: "Progress") -> None:
        self._bar, self._task = bar, bar.add_task("starting", total=None)

    def log(self, text: str) -> None:
        self._bar.console.print(text, markup=False, soft_wrap=True)

    def show(self, status: Showable) -> None:
        self._bar.update(
            self._task,
            description=status.describe(),
            total=max(status.total, 1),
            completed=status.done,
        )


class _PlainDisplay:
    def __init__(self, console: "Console") -> None:
        self._console, self._shown = console, float("-inf")

    def log(self, text: str) -> None:
        self._console.print(text, markup=False, soft_wrap=True)
        self._shown = float("-inf")  # the next status belongs to this line

    def show(self, status: Showable) -> None:
        if time.monotonic() - self._shown >= PLAIN_INTERVAL_S:
            self._shown = time.monotonic()
            self._console.print(status.describe(), markup=False, soft_wrap=True)
