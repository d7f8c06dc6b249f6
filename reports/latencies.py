"""Table of the latencies measured in a stage or a folder of proposals.

It has a row for each measured architecture, also for those that were too slow to be a candidate.
"""

import csv
import io
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import get_type_hints

from search_spaces.checks import require_number
from search_spaces.files import write_text
from trials.evaluation.latency import Latency

LATENCIES_FILE = "latencies.csv"
_FIELDS = get_type_hints(Latency)


@dataclass(frozen=True, kw_only=True)
class Timed:
    """A measured architecture.

    Attributes:
        hash: content hash of the architecture.
        conditions: machine, runtime and options (`trials.evaluation.latency`).
        latency: what was measured.
    """

    hash: str
    conditions: str
    latency: Latency


def read_latencies(folder: Path) -> list[Timed]:
    """Return the rows of the table of a folder; damaged rows are ignored."""
    path, found = folder / LATENCIES_FILE, []
    if not path.is_file():
        return []
    with path.open(encoding="utf-8", errors="replace", newline="") as file:
        for row in csv.DictReader(file):
            with suppress(ValueError, TypeError, KeyError):
                values = {name: kind(row[name]) for name, kind in _FIELDS.items()}
                for name in ("median_ms", "p95_ms", "slowest_ms"):
                    require_number(values[name], name, 0)
                latency = Latency(**values)
                found.append(Timed(hash=row["hash"], conditions=row["conditions"], latency=latency))
    return found


def write_latencies(folder: Path, rows: Iterable[Timed]) -> None:
    """Write the table of a folder atomically."""
    text = io.StringIO()
    writer = csv.DictWriter(text, ["hash", "conditions", *_FIELDS], lineterminator="\n")
    writer.writeheader()
    for row in rows:
        content = {"hash": row.hash, "conditions": row.conditions, **asdict(row.latency)}
        writer.writerow(content)
    write_text(folder / LATENCIES_FILE, text.getvalue())


def by_hash(rows: Sequence[Timed], conditions: str | None = None) -> Mapping[str, Latency]:
    """Return the latencies measured under the same conditions, by content hash.

    `conditions` None means those of most rows: latencies of two machines are not comparable.
    """
    if conditions is None:
        common = Counter(row.conditions for row in rows).most_common(1)
        conditions = common[0][0] if common else ""
    return {row.hash: row.latency for row in rows if row.conditions == conditions}
