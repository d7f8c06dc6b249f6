"""Learning curves of many candidates, and their CSV file.

The file has a line per epoch. It is sufficient to replay a search: the first line of each
candidate holds its architecture as JSON.
"""

import csv
import io
import json
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from reports.costs import COSTS, SHARES, costs
from search_spaces.architecture import Architecture
from search_spaces.checks import require_integer, require_number
from search_spaces.errors import ConfigError, DataError
from search_spaces.files import read_text, write_text
from trials.result import METRICS_FILE

MAX_BYTES = 64 << 20  # an untrusted file must not fill the memory
COLUMNS = ("candidate", "hash", "epoch", "hard", "loss", *COSTS, "architecture")
_REQUIRED = ("candidate", "epoch", "hard", "architecture")


@dataclass(frozen=True, kw_only=True)
class Curve:
    """Learning curve of one candidate.

    Attributes:
        candidate: number of the candidate.
        architecture: the network that was trained.
        hard: hard AP by evaluated epoch, ascending.
        loss: mean training loss by epoch, ascending; may lack epochs.
    """

    candidate: int
    architecture: Architecture
    hard: Mapping[int, float]
    loss: Mapping[int, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        label = f"candidate {self.candidate}"
        require_integer(self.candidate, "a candidate's number", 1)
        object.__setattr__(self, "hard", _checked(self.hard, f"{label}: hard", high=1.0))
        object.__setattr__(self, "loss", _checked(self.loss, f"{label}: loss"))

    @property
    def last(self) -> int:
        """Last epoch with a value; 0 without values."""
        return max((*self.hard, *self.loss), default=0)


def read_curve(folder: str | os.PathLike[str], candidate: int, architecture: Architecture) -> Curve:
    """Return the curve in a trial's `metrics.csv`; an empty one if there is no such file.

    Raises:
        DataError: the file is damaged.
    """
    path = Path(folder) / METRICS_FILE
    if not path.is_file():
        return Curve(candidate=candidate, architecture=architecture, hard={})
    rows = list(_rows(path, ("epoch", "loss", "hard")))
    return _curve(candidate, architecture, rows, str(path))


def write_curves(curves: Iterable[Curve], path: str | os.PathLike[str]) -> None:
    """Write the curves as one CSV file atomically."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    for curve in curves:
        writer.writerows(_lines(curve))
    write_text(path, text.getvalue())


def read_curves(path: str | os.PathLike[str]) -> list[Curve]:
    """Return the curves of a file of `write_curves`, by candidate.

    Raises:
        DataError: the file is missing, too large or damaged; the message names the line.
    """
    by_candidate: dict[int, list[_Row]] = {}
    for row in _rows(Path(path), _REQUIRED):
        by_candidate.setdefault(row.integer("candidate"), []).append(row)
    if not by_candidate:
        raise DataError(f"{path}: holds no curve")
    return [
        _curve(candidate, _architecture(rows), rows, str(path))
        for candidate, rows in sorted(by_candidate.items())
    ]


@dataclass(frozen=True)
class _Row:
    """One line of a CSV file, and its position for messages."""

    values: Mapping[str, str]
    place: str

    def text(self, name: str) -> str:
        return (self.values.get(name) or "").strip()

    def number(self, name: str) -> float | None:
        """Return the field as a float, None if it is empty."""
        try:
            return float(self.text(name)) if self.text(name) else None
        except ValueError:
            raise DataError(
                f"{self.place}: {name} must be a number, got {self.text(name)!r}"
            ) from None

    def integer(self, name: str) -> int:
        text = self.text(name)
        if not (text.isascii() and text.isdigit() and len(text) < 10 and int(text) >= 1):
            raise DataError(f"{self.place}: {name} must be an integer of at least 1, got {text!r}")
        return int(text)


def _rows(path: Path, required: Iterable[str]) -> Iterator[_Row]:
    """Yield the lines of a CSV file that has the `required` columns. Raises DataError."""
    try:
        reader = csv.DictReader(io.StringIO(read_text(path, MAX_BYTES)), strict=True)
    except ConfigError as error:
        raise DataError(str(error)) from error
    try:
        missing = sorted(set(required) - set(reader.fieldnames or ()))
        if missing:
            raise DataError(f"{path}: lacks the columns {missing}")
        for values in reader:
            place = f"{path}: line {reader.line_num}"
            if None in values or None in values.values():
                raise DataError(f"{place}: must have as many fields as the first line")
            yield _Row(values, place)
    except csv.Error as error:
        raise DataError(f"{path}: line {reader.line_num}: {error}") from error


def _curve(candidate: int, architecture: Architecture, rows: list[_Row], source: str) -> Curve:
    hard: dict[int, float] = {}
    loss: dict[int, float] = {}
    epochs: set[int] = set()
    for row in rows:
        epoch = row.integer("epoch")
        if epoch in epochs:
            raise DataError(f"{row.place}: epoch {epoch} of candidate {candidate} is given twice")
        epochs.add(epoch)
        for name, values in (("hard", hard), ("loss", loss)):
            value = row.number(name)
            if value is not None:
                values[epoch] = value
    try:
        return Curve(candidate=candidate, architecture=architecture, hard=hard, loss=loss)
    except ConfigError as error:
        raise DataError(f"{source}: {error}") from error


def _architecture(rows: list[_Row]) -> Architecture:
    """Return the architecture of the lines of a candidate, checked against their hash."""
    row = next((row for row in rows if row.text("architecture")), None)
    if row is None:
        place, number = rows[0].place, rows[0].text("candidate")
        raise DataError(f"{place}: candidate {number} has no architecture on any of its lines")
    try:
        content = json.loads(row.text("architecture"))
        architecture = Architecture.from_dict(content, row.place)
    except (ValueError, RecursionError) as error:
        if isinstance(error, ConfigError):
            raise DataError(str(error)) from error
        raise DataError(f"{row.place}: architecture is not JSON ({error})") from error
    if row.text("hash") not in ("", architecture.content_hash):
        rule = f"hash must be that of the architecture, {architecture.content_hash}"
        raise DataError(f"{row.place}: {rule}, got {row.text('hash')!r}")
    return architecture


def _lines(curve: Curve) -> Iterator[list[Any]]:
    architecture, cost = curve.architecture, costs(curve.architecture)
    shares = [f"{cost[share]:.4f}" for share in SHARES]
    text = json.dumps(architecture.to_dict(), separators=(",", ":"))
    for epoch in sorted({*curve.hard, *curve.loss}):
        hard = f"{curve.hard[epoch]:.6f}" if epoch in curve.hard else ""
        loss = f"{curve.loss[epoch]:.6g}" if epoch in curve.loss else ""
        start = [curve.candidate, architecture.content_hash, epoch, hard, loss]
        yield [*start, cost["flops"], cost["params"], *shares, text]
        text = ""  # only on the first line of a candidate


def _checked(
    values: Mapping[int, float], label: str, high: float = float("inf")
) -> dict[int, float]:
    """Return the values by ascending epoch from 1, each a finite number from 0 to `high`."""
    for epoch in values:
        require_integer(epoch, f"{label}: an epoch", 1)
    return {
        epoch: require_number(values[epoch], f"{label} at epoch {epoch}", 0, high)
        for epoch in sorted(values)
    }
