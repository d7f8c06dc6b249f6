"""What the command files share: parsing of FLOPs, JSON on standard output, consoles."""

import json
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from decimal import Decimal
from functools import cache
from typing import TYPE_CHECKING, Any

from search_spaces.errors import ConfigError

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

_UNITS = {"": 1, "K": 10**3, "M": 10**6, "G": 10**9}
_FLOPS_PATTERN = re.compile(r"(\d{1,18}(?:\.\d{1,18})?)\s*([KMG]?)", re.IGNORECASE | re.ASCII)


def parse_flops(text: str) -> int:
    """Multiply-adds from text: `2.5G`, `500M`, `0.5g` or `2500000000`.

    Raises:
        ConfigError: not such a number, or not a whole number of at least 1.
    """
    match = _FLOPS_PATTERN.fullmatch(text.strip())
    if not match:
        raise ConfigError(f"FLOPs are a number such as 2.5G, 500M or 2500000000, got {text!r}")
    value = Decimal(match[1]) * _UNITS[match[2].upper()]
    if value < 1 or value != value.to_integral_value():
        raise ConfigError(f"FLOPs must be a whole number of at least 1, got {text!r}")
    return int(value)


def format_flops(flops: int) -> str:
    """FLOPs for a reader: `2.522G`, `503.9M`."""
    return f"{flops / 1e9:.3f}G" if flops >= 10**9 else f"{flops / 1e6:.1f}M"


def print_json(value: Any) -> None:
    """Write one JSON document to standard output. NaN is refused (ValueError)."""
    sys.stdout.write(json.dumps(value, indent=2, allow_nan=False) + "\n")


def print_table(
    title: str,
    columns: Sequence[str],
    rows: Iterable[Sequence[object]],
    *,
    text_columns: Sequence[str] = (),
    gap: int = 2,
) -> None:
    """Print a table to standard output; columns are right-aligned but for `text_columns`.

    `gap` is the number of spaces between columns.
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


def print_rich(renderable: "Table | str") -> None:
    """Print a rich table or plain text to standard output, wide enough to cut nothing."""
    from rich.console import Console
    from rich.measure import Measurement

    output = Console(file=sys.stdout, highlight=False, soft_wrap=isinstance(renderable, str))
    if not isinstance(renderable, str):
        needed = Measurement.get(output, output.options.update(max_width=10_000), renderable)
        output.width = max(output.width, needed.maximum)
    output.print(renderable, markup=False)


def print_note(text: str) -> None:
    """Write a line for people to standard error, unwrapped."""
    _stderr_console().print(text, soft_wrap=True)


@contextmanager
def progress_bar(text: str) -> Iterator[Callable[[int, int], None]]:
    """Show a bar with the time left on standard error; yields a function of done and total."""
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
    """`common.console`: the rich console on standard error, made when first used."""
    if name == "console":
        return _stderr_console()
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
