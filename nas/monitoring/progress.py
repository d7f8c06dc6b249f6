"""Display of a running stage, fed by the events of its trials."""

import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import TYPE_CHECKING, Protocol

from nas.monitoring.counts import StageCounts
from nas.monitoring.status import StageStatus, describe_seconds
from nas.search.events import TrialEvent
from nas.storage.periodic import Periodic
from search_spaces.errors import printable
from trials.result import Outcome, TrialResult

if TYPE_CHECKING:
    from rich.console import Console, RenderableType

PLAIN_INTERVAL_S = 60.0
RECORD_EVERY_S = 2.0  # with 1,000 trials at once a status is 250 KB
_LOOK_S = 5.0


class Showable(Protocol):
    """Status that a display shows."""

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
        name_of: Name of a trial in the lines about it.
        record: Receives the latest status, to write it where other terminals look.
        clock: Seconds since 1970; for tests.
    """

    def __init__(
        self,
        counts: StageCounts,
        display: Display,
        outcome_of: Callable[[int], Outcome | None],
        name_of: Callable[[int], str] = "candidate {}".format,
        record: Callable[[StageStatus], None] = lambda status: None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._counts, self._display, self._clock = counts, display, clock
        self._outcome_of, self._name_of, self._record = outcome_of, name_of, record
        self._before, self._started = counts.total_done, clock()
        self._unrecorded: StageStatus | None = None
        self._recorded = float("-inf")

    def __call__(self, event: TrialEvent) -> None:
        """Count one event and display it."""
        outcome = self._outcome_of(event.number) if event.is_end else None
        self._counts.add(event, outcome, self._clock())
        if text := describe_event(event, outcome, self._name_of(event.number)):
            self._display.log(text)
        self.show()

    def show(self) -> None:
        """Display and record the present status."""
        self._unrecorded = self.status()
        self._display.show(self._unrecorded)
        self.record()

    def record(self) -> None:
        """Record the latest status, unless that was done less than `RECORD_EVERY_S` ago."""
        if self._unrecorded is None or 0 <= self._clock() - self._recorded < RECORD_EVERY_S:
            return
        self._recorded = self._clock()
        self._record(self._unrecorded)
        self._unrecorded = None

    def forget(self, number: int) -> None:
        """Count a trial that had ended as waiting."""
        self._counts.forget(number)

    def status(self) -> StageStatus:
        """Return the status of the stage."""
        new = self._counts.total_done - self._before
        now = self._clock()
        pace = (now - self._started) / new if new > 0 and now > self._started else None
        return self._counts.status(pace=pace, active=True, now=now)


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
def shown(console: "Console", resume: str = "") -> Iterator["ConsoleDisplay"]:
    """Yield a display on `console`: a live block on a terminal, a line a minute elsewhere.

    `resume` is the command that the block names where a stage was interrupted.
    """
    display = _LiveDisplay(console, resume) if console.is_terminal else ConsoleDisplay(console)
    with display.running():
        yield display


class ConsoleDisplay:
    """Display that prints a line a minute beside the lines that stay."""

    def __init__(self, console: "Console") -> None:
        self._console = console
        self._status: Showable | None = None
        self._printed = float("-inf")

    def running(self) -> AbstractContextManager[object]:
        """Return the context in which the display works."""
        return Periodic("display", _LOOK_S, self._repeat).running()

    def log(self, text: str) -> None:
        """See `Display.log`."""
        # A terminal would break a line within a word.
        self._console.print(printable(text), markup=False, soft_wrap=not self._console.is_terminal)

    def show(self, status: Showable) -> None:
        """See `Display.show`."""
        self._status = status
        self._repeat()

    def held(self) -> str:
        """Return what the stage shown last holds, as ` with ...`; empty without one."""
        return f" with {self._status.held()}" if isinstance(self._status, StageStatus) else ""

    def _repeat(self) -> None:
        """Print the present status if the last one is a minute old."""
        if self._status is not None and time.monotonic() - self._printed >= PLAIN_INTERVAL_S:
            self._printed = time.monotonic()
            self.log(self._status.describe())


class _LiveDisplay(ConsoleDisplay):
    """Display of a block that stays below the lines."""

    def __init__(self, console: "Console", resume: str) -> None:
        from rich.live import Live

        super().__init__(console)
        self._resume, self._started = resume, time.time()
        self._live = Live(
            console=console,
            get_renderable=self._render,
            refresh_per_second=2,
            transient=not resume,  # after a search come its leaderboards
            redirect_stdout=False,
        )

    def running(self) -> AbstractContextManager[object]:
        return self._live

    def show(self, status: Showable) -> None:
        self._status = status
        self._live.refresh()

    def _render(self) -> "RenderableType":
        from rich.text import Text

        from nas.monitoring.block import Block, moving

        if isinstance(self._status, StageStatus):
            return Block(status=self._status, resume=self._resume, is_live=True)
        now = time.time()
        waited = f"starting, {describe_seconds(now - self._started)}"
        text = self._status.describe() if self._status else waited
        return Text(f"{moving(now)} {printable(text)}", no_wrap=True, overflow="ellipsis")
