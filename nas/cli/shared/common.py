"""Output that the commands share: JSON and tables on standard output, notes and progress."""

import json
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table


def format_flops(flops: int) -> str:
    """Return FLOPs as text such as `2.522G` or `503.9M`."""
    return f"{flops / 1e9:.3f}G" if flops >= 10**9 else f"{flops / 1e6:.1f}M"


def print_json(value: Any) -> None:
    """Print one JSON document to standard output. Raises ValueError for NaN."""
    sys.stdout.write(json.dumps(value, indent=2, allow_nan=False) + "\n")


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
        title=Text(title),
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
        table.add_row(*(Text(str(cell)) for cell in row))
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
    output.print(renderable, markup=False)


def print_note(text: str) -> None:
    """Print a line to standard error without wrapping it."""
    _stderr_console().print(text, soft_wrap=True)


@contextmanager
def progress_bar(text: str) -> Iterator[Callable[[int, int], None]]:
    """Show a progress bar on standard error; yields a function of (done, total)."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
    from rich.progress import TimeRemainingColumn as TimeLeft

    columns = (TextColumn("{task.description}", markup=False), BarColumn(), MofNCompleteColumn())
    with Progress(*columns, TimeLeft(), console=_stderr_console()) as bar:
        task = bar.add_task(text, total=None)

        def update(done: int, total: int) -> None:
            bar.update(task, total=total, completed=done)

        yield update


@cache
def _stderr_console() -> "Console":
    from rich.console import Console

    return Console(stderr=True, highlight=False, markup=False)


def __getattr__(name: str) -> Any:
    """Return `common.console`, the rich console on standard error, created on first use."""
    if name == "console":
        return _stderr_console()
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
