"""Output that the commands share: JSON and tables on standard output, notes and progress."""

import json
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import cache
from typing import TYPE_CHECKING, Any, TextIO

from search_spaces.errors import printable

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

    from nas.monitoring.progress import Display


_PLAIN_INTERVAL_S = 10.0


def print_json(value: Any) -> None:
    """Print one JSON document to standard output. Raises ValueError for NaN."""
    sys.stdout.write(json.dumps(value, indent=2, allow_nan=False) + "\n")


def print_result(content: Any, text: str, *, as_json: bool) -> None:
    """Print a result to standard output: `content` as JSON, or `text`."""
    if as_json:
        print_json(content)
    else:
        print_rich(text)


def print_table(
    title: str,
    columns: Sequence[str],
    rows: Iterable[Sequence[object]],
    *,
    text_columns: Sequence[str] = (),
    gap: int = 2,
) -> None:
    """Print a table to standard output.

    Args:
        title: title above the table.
        columns: headings.
        rows: cells, as many in each row as there are columns.
        text_columns: columns that are aligned to the left; the others are to the right.
        gap: number of spaces between columns.
    """
    from rich import box
    from rich.table import Table
    from rich.text import Text

    table = Table(
        title=Text(printable(title)),
        title_justify="left",
        box=box.SIMPLE_HEAD,
        show_edge=False,
        pad_edge=False,
        padding=(0, gap - 1, 0, 0),  # the box itself puts one space between columns
    )
    for column in columns:
        justify: Any = "left" if column in text_columns else "right"
        table.add_column(column, justify=justify, no_wrap=True)
    for row in rows:
        table.add_row(*(Text(printable(str(cell))) for cell in row))
    print_rich(table)


def print_aps(aps: Mapping[str, float], face_counts: Mapping[str, int]) -> None:
    """Print APs and the number of faces by subset to standard output."""
    rows = [(name, f"{ap:.4f}", face_counts[name]) for name, ap in aps.items()]
    print_table("WIDER FACE AP", ("subset", "AP", "faces"), rows, text_columns=("subset",))


def print_rich(renderable: "Table | str") -> None:
    """Print a rich table or plain text to standard output without truncation."""
    from rich.console import Console
    from rich.measure import Measurement

    output = Console(file=sys.stdout, highlight=False, soft_wrap=isinstance(renderable, str))
    if not isinstance(renderable, str):
        needed = Measurement.get(output, output.options.update(max_width=10_000), renderable)
        output.width = max(output.width, needed.maximum)
    text = printable(renderable) if isinstance(renderable, str) else renderable
    output.print(text, markup=False)


def print_words(text: str) -> None:
    """Print a paragraph to standard output, wrapped between words on a terminal."""
    from rich.console import Console

    output = Console(file=sys.stdout, highlight=False)
    output.print(printable(text), markup=False, soft_wrap=not output.is_terminal)


def print_note(text: str) -> None:
    """Print a line to standard error without wrapping it."""
    console().print(printable(text), soft_wrap=True)


@contextmanager
def progress_bar(noun: str) -> Iterator[Callable[[int, int | None], None]]:
    """Show progress on standard error: a bar on a terminal, a line every 10 s elsewhere.

    Yields a function of the number of items done and of all (None if unknown); `noun` names the
    items.
    """
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
    from rich.progress import TimeRemainingColumn as TimeLeft

    if not console().is_terminal:
        yield plain_progress(noun, print_note)
        return
    columns = (TextColumn("{task.description}", markup=False), BarColumn(), MofNCompleteColumn())
    with Progress(*columns, TimeLeft(), console=console(), transient=True) as bar:
        task = bar.add_task(noun, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


def plain_progress(
    noun: str, say: Callable[[str], None], clock: Callable[[], float] = time.monotonic
) -> Callable[[int, int | None], None]:
    """Return a function of (done, total) that says the time left every 10 s.

    The time is estimated from the first call on: what came before was other work.
    """
    started: tuple[float, int] | None = None
    said = clock()

    def progress(done: int, total: int | None) -> None:
        nonlocal said, started
        now = clock()
        begin, already = started = started or (now, done)
        if now - said < _PLAIN_INTERVAL_S or not done or done == total:
            return
        said = now
        if total is None:
            say(f"{done} {noun}")
        else:
            left = (now - begin) / max(done - already, 1) * (total - done)
            say(f"{done} of {total} {noun}" + f", {left:.0f} s left" * (done > already))

    return progress


class OptionalOutput:
    """Text stream whose output is dropped when it cannot be written, as to a closed terminal."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        """Write `text` if that is possible."""
        with suppress(OSError):
            self._stream.write(text)
        return len(text)

    def flush(self) -> None:
        """Flush the stream if that is possible."""
        with suppress(OSError):
            self._stream.flush()


@contextmanager
def resumable(work: str) -> Iterator["Display"]:
    """Show the progress of a search; after an interruption, what it holds and how it continues.

    Yields the display. The command that called continues `work`.
    """
    from nas.monitoring.progress import shown

    with shown(console()) as display:
        try:
            yield display
        except (KeyboardInterrupt, SystemExit):
            display.log(f"stopped{display.held()}; the same command continues {work}")
            raise


@cache
def console() -> "Console":
    """Return the rich console on standard error."""
    from rich.console import Console

    return Console(stderr=True, highlight=False, markup=False)
