"""Limit of the latency of candidates, which are measured before any of them is trained.

Networks of equal FLOPs differ in speed. The candidates of a space are measured in the order in
which it is sampled, and those within the limit are kept, so that the recorded latencies alone
decide which they are. Every measurement is recorded at once and never repeated.
"""

import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median

from nas.candidates.pool import Pool
from nas.monitoring.status import describe_seconds
from reports.latencies import LATENCIES_FILE, Timed, by_hash, read_latencies, write_latencies
from search_spaces.architecture import Architecture
from search_spaces.errors import ConfigError, InfeasibleError
from trials.evaluation.latency import Latency, candidate_latency, describe_conditions
from trials.settings import LatencyOptions

TRIES = 100  # candidates in succession that are too slow; where 1 in 20 is fast, 1 search in 170
MARGIN = 0.05  # difference between two measurements of a network (docs/LOG.md)

Measure = Callable[[Architecture, LatencyOptions], Latency]


def is_within(latency: Latency, limit_ms: float) -> bool:
    """Return whether a latency obeys a limit.

    Either all its sessions do, or the fastest one does by `MARGIN`. Other processes only add
    time: a slow session among fast ones says nothing about the network.
    """
    return latency.slowest_ms <= limit_ms or latency.median_ms * (1 + MARGIN) <= limit_ms


@dataclass(frozen=True, kw_only=True)
class LatencyStatus:
    """Progress of measuring, for the display of a stage (`nas.monitoring.progress`).

    Attributes:
        tried, found, wanted: candidates measured, within the limit, and needed.
        limit_ms: the limit.
        seconds_each: mean time of a measurement.
    """

    tried: int
    found: int
    wanted: int
    limit_ms: float
    seconds_each: float

    def describe(self) -> str:
        """Return one line for the display, with the time left once a candidate was found."""
        text = f"measuring latencies: {self.found}/{self.wanted} within {self.limit_ms:g} ms"
        text += f", {self.tried} measured"
        if not self.found:
            return text
        left = self.seconds_each * self.tried / self.found * (self.wanted - self.found)
        return f"{text}, {describe_seconds(left)} left"


@dataclass(frozen=True, kw_only=True)
class LatencyLimit:
    """Limit of the latency, and how it is measured.

    Attributes:
        limit_ms: limit in milliseconds.
        options: options of the measurements.
        folder: folder of the table of latencies (`reports.latencies`).
        conditions: conditions of the recorded latencies that count
            (`trials.evaluation.latency.describe_conditions`); None: those here, and no others
            may be recorded.
        measure: measures one architecture.
        show: receives the progress before every candidate.
    """

    limit_ms: float
    options: LatencyOptions
    folder: Path
    conditions: str | None = None
    measure: Measure = candidate_latency
    show: Callable[[LatencyStatus], None] = lambda status: None

    def first(self, architectures: Iterable[Architecture], num: int) -> list[Architecture]:
        """Return the first `num` architectures within the limit, fewer if there are no more.

        Raises:
            InfeasibleError: none is, or `TRIES` in succession are not.
            ConfigError: one must be measured, and this is another machine.
        """
        recorded = _Recorded(self)
        found: list[Architecture] = []
        tried: list[Latency] = []
        in_vain = 0
        for architecture in architectures:
            counts = {"tried": len(tried), "found": len(found), "wanted": num}
            each = recorded.seconds_each
            self.show(LatencyStatus(**counts, limit_ms=self.limit_ms, seconds_each=each))
            tried.append(recorded.latency(architecture))
            is_fast = is_within(tried[-1], self.limit_ms)
            found += [architecture] if is_fast else []
            in_vain = 0 if is_fast else in_vain + 1
            if len(found) == num or in_vain == TRIES:
                break
        if in_vain == TRIES or (tried and not found):
            fastest = min(latency.median_ms for latency in tried)
            spread = median(latency.slowest_ms / latency.median_ms for latency in tried) - 1
            raise InfeasibleError(
                f"{len(found)} of {num} candidates are within {self.limit_ms:g} ms: the last "
                f"{in_vain} took longer, the fastest of {len(tried)} took {fastest:.2f} ms (in "
                f"{recorded.conditions}; repetitions differ by {spread:.0%}); raise --max-latency, "
                f"or lower --flops or --num-candidates; {self.folder / LATENCIES_FILE} keeps what "
                "was measured"
            )
        return found


def limited_pool(sample: Callable[[int], Pool], num: int, limit: LatencyLimit) -> Pool:
    """Return the first `num` candidates of a space that are within a limit.

    Args:
        sample: returns a number of candidates, or all if there are fewer; a larger number gives
            the same ones first.
        num: number of candidates; fewer are returned if there are no more, with a note.
        limit: the limit.

    Raises:
        InfeasibleError, ConfigError: see `LatencyLimit.first` and `nas.candidates.pool`.
    """
    pools = [sample(num)]

    def members() -> Iterator[Architecture]:
        asked, done = num, 0
        while done < len(pools[-1].architectures):
            yield from pools[-1].architectures[done:]
            done = len(pools[-1].architectures)
            if done == asked:
                asked *= 2
                pools.append(sample(asked))

    found, pool = limit.first(members(), num), pools[-1]
    sampled, limit_ms = len(pool.architectures), f"{limit.limit_ms:g} ms"
    fewer = f"{len(found)} of {num} candidates: no more of {sampled:,} are within {limit_ms}"
    note = fewer if len(found) < num else None
    return replace(pool, sample=replace(pool.sample, architectures=tuple(found), note=note))


class _Recorded:
    """Latencies that a table has, to which those that it lacks are added."""

    def __init__(self, limit: LatencyLimit) -> None:
        self._limit, self._rows = limit, read_latencies(limit.folder)
        self._here = describe_conditions(limit.options)
        self.conditions = limit.conditions or self._here
        self._known = dict(by_hash(self._rows, self.conditions))
        self._seconds: list[float] = []
        if limit.conditions is None and len(self._known) < len(self._rows):
            self._refuse(self._rows[0].conditions)

    @property
    def seconds_each(self) -> float:
        """Mean seconds of a measurement, 0 before the first."""
        return sum(self._seconds) / max(len(self._seconds), 1)

    def latency(self, architecture: Architecture) -> Latency:
        """Return the latency of an architecture, which is measured and recorded if it is new."""
        key = architecture.content_hash
        if key not in self._known:
            if self._here != self.conditions:
                self._refuse(self.conditions)
            started = time.monotonic()
            self._known[key] = self._limit.measure(architecture, self._limit.options)
            self._seconds.append(time.monotonic() - started)
            row = Timed(hash=key, conditions=self.conditions, latency=self._known[key])
            self._rows.append(row)
            write_latencies(self._limit.folder, self._rows)
        return self._known[key]

    def _refuse(self, conditions: str) -> None:
        raise ConfigError(
            f"{self._limit.folder}: has latencies measured with {conditions}, with which those of "
            f"{self._here} cannot be compared; continue there, or begin in another folder"
        )
