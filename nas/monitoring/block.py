"""Block of lines about one stage: in a running command, and in `scrfd-nas status`.

Its lines never wrap. What is least important goes first where the terminal is narrow or low.
"""

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from rich.columns import Columns
from rich.console import Console, ConsoleOptions, RenderableType
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from nas.monitoring.status import StageStatus, TrialStatus, describe_seconds
from search_spaces.errors import printable

_GAP = 2
# Heading and width of each column, and those that go first where there is no room.
_COLUMNS = {
    "candidate": 9,
    "epoch": 9,
    "loss": 7,
    "hard AP": 7,
    "images/s": 8,
    "left": 7,
    "last report": 11,
}
_DISPENSABLE = ("images/s", "loss", "last report", "left")
_BAR_WIDTHS = (10, 40)


@dataclass(frozen=True, kw_only=True)
class Block:
    """Rich renderable of a stage's status.

    Attributes:
        status: The status.
        resume: Command that continues the stage if it was interrupted.
        is_live: Whether the block stays on the screen, and must fit its height.
    """

    status: StageStatus
    resume: str = ""
    is_live: bool = False

    def __rich_console__(
        self, console: Console, options: ConsoleOptions
    ) -> Iterator[RenderableType]:
        now, width = time.time(), options.max_width
        lines: list[RenderableType] = [
            _headline(self.status, now, width),
            _line(fitted(self._counts(now), width)),
        ]
        if not self.status.active and not self.status.is_done:
            lines.append(_line(f"interrupted with {self.status.held()}; continue with"))
            lines.append(Text(f"  {printable(self.resume)}", no_wrap=True, overflow="ignore"))
        yield from lines
        height = console.size.height if self.is_live else None
        yield from _tables(self.status.trials, now, width, height and height - len(lines) - 1)

    def _counts(self, now: float) -> list[str]:
        """Return the numbers of trials; before the first one, what is going on."""
        status = self.status
        if status.active and not status.running and status.waiting:
            waited = describe_seconds(max(0.0, now - status.updated))
            return [f"starting Ray and the first trials, {waited}", *status.counts()]
        return status.counts()


def moving(now: float) -> str:
    """Return a sign that turns with the time, to show that the program lives."""
    return "|/-\\"[int(2 * now) % 4]


def fitted(parts: Sequence[str], width: int) -> str:
    """Join as many of the first parts as fit into `width` characters."""
    kept = list(parts)
    while len(kept) > 1 and len(", ".join(kept)) > width:
        kept.pop()
    return ", ".join(kept)


def _line(text: str, style: str = "") -> Text:
    return Text(printable(text), style, no_wrap=True, overflow="ellipsis")


def _headline(status: StageStatus, now: float, width: int) -> Table:
    """Return the line with stage, state, bar, time left and best candidate."""
    state = moving(now) if status.active else "done" if status.is_done else "stopped"
    title = f"stage {status.stage} {state}"
    percent = f"{100 * status.epochs_done // max(1, status.epochs_total)} %"
    parts = [percent, status.best(), status.left(now) if status.active else ""]
    rest = fitted(list(filter(None, parts)), width - len(title) - _BAR_WIDTHS[0] - 2)
    bar = min(max(width - len(title) - len(rest) - 2, _BAR_WIDTHS[0]), _BAR_WIDTHS[1])
    grid = Table.grid(padding=(0, 1, 0, 0))
    grid.add_row(
        _line(title, "bold"),
        ProgressBar(max(1, status.epochs_total), status.epochs_done, width=bar),
        _line(rest),
    )
    return grid


def _tables(
    trials: Sequence[TrialStatus], now: float, width: int, height: int | None
) -> Iterator[RenderableType]:
    """Return the lines of trials, side by side where they would be too many, and what is left."""
    if not trials:
        return
    columns = list(_COLUMNS)
    for heading in _DISPENSABLE:
        if _width(columns) > width:
            columns.remove(heading)
    rows = max(1, len(trials) if height is None else height - 2)  # heading, and a last line
    abreast = min(max(1, width // (_width(columns) + 2 * _GAP)), -(-len(trials) // rows))
    shown = trials[: rows * abreast]
    rows = -(-len(shown) // abreast)
    parts = [shown[first : first + rows] for first in range(0, len(shown), rows)]
    tables = [_table(part, columns, now) for part in parts]
    yield Columns(tables, padding=(0, 2 * _GAP, 0, 0))
    if len(shown) < len(trials):
        yield _line(f"and {len(trials) - len(shown)} more")


def _width(columns: Sequence[str]) -> int:
    return sum(_COLUMNS[heading] + _GAP for heading in columns) - _GAP


def _table(trials: Sequence[TrialStatus], columns: Sequence[str], now: float) -> Table:
    table = Table(box=None, padding=(0, _GAP, 0, 0), pad_edge=False, header_style="dim")
    for heading in columns:
        table.add_column(heading, justify="right", no_wrap=True, min_width=_COLUMNS[heading])
    for trial in trials:
        cells = _cells(trial, now)
        table.add_row(*(_line(cells[heading]) for heading in columns))
    return table


def _cells(trial: TrialStatus, now: float) -> dict[str, str]:
    ago = None if trial.reported is None else max(0.0, now - trial.reported)
    left = trial.seconds_left
    if left is not None and ago is not None:
        left = max(0.0, left - ago)
    return {
        "candidate": trial.name,
        "epoch": f"{trial.epoch}/{trial.epochs}",
        "loss": "" if trial.loss is None else f"{trial.loss:.3f}",
        "hard AP": "" if trial.hard is None else f"{trial.hard:.4f}",
        "images/s": "" if trial.images_per_second is None else f"{trial.images_per_second:.0f}",
        "left": "" if left is None else describe_seconds(left),
        "last report": "" if ago is None else f"{describe_seconds(ago)} ago",
    }
