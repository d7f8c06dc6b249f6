"""Training-free screening: score many candidates and train the most promising.

Candidates are ranked by score, the highest first, and by their order in the pool among equals.
The ranking depends on the space, the budget, the seed, the proxy and the size of the pool only,
so that asking for more candidates later continues the same list. Scores are saved by content
hash in a CSV beside the candidates, so that none is computed twice.
"""

import csv
import math
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

import pandas as pd

from nas.candidates.audit import score_or_none
from nas.candidates.latency_limit import LatencyLimit
from nas.candidates.pool import Pool
from nas.candidates.proposals import confirmed
from nas.candidates.proxy_approval import approve, write_record
from nas.monitoring.progress import Display
from nas.monitoring.status import describe_seconds
from nas.search.directory import SearchDir
from nas.search.request import AnyRequest
from search_spaces.architecture import Architecture
from search_spaces.files import write_text

_COLUMNS = ("rank", "number", "hash", "score")
_SAVE_EVERY_S = 10.0

Progress = Callable[[int, int], None]
Scores = dict[str, float | None]


@dataclass(frozen=True, kw_only=True)
class ScreeningOptions:
    """How the proxy of a request is approved and where its candidates come from.

    Attributes:
        pool: samples the candidates to be scored.
        audit: search whose trials must agree with the proxy; None: the search itself.
        force: use the proxy whatever the audit says.
        limit: limit of the latency, if the candidates have one.
    """

    pool: Callable[[AnyRequest, Architecture | None], Pool]
    audit: Path | None = None
    force: bool = False
    limit: LatencyLimit | None = None


def screened_candidates(
    directory: SearchDir,
    request: AnyRequest,
    template: Architecture | None,
    options: ScreeningOptions,
    display: Display,
) -> Sequence[Architecture]:
    """Return the best of a pool that the stage does not have yet, as many as it lacks.

    Args:
        directory: the search directory; scores and approval are written into it.
        request: request of the stage, with a proxy in `screen`.
        template: architecture that stage 2 starts from.
        options: pool and audit.
        display: shows a `ScreeningStatus` after every score, and messages for the user.

    Raises:
        ScreeningError: the proxy did not pass its audit (`nas.candidates.proxy_approval`).
        ConfigError, InfeasibleError: see `nas.candidates.pool`.
    """
    stage, existing = request.stage, directory.candidates(request.stage)
    approval = approve(request.screen, directory, stage, audit=options.audit, force=options.force)
    pool = options.pool(replace(request, num_candidates=request.screen_from), template)
    if pool.note:
        display.log(pool.note)
    shown = _shown(request.screen, display)
    ranking = ranked(pool, request.screen, directory.stage_folder(stage), shown)
    known, missing = set(existing.values()), request.num_candidates - len(existing)
    new = [architecture for architecture in ranking if architecture not in known]
    chosen = options.limit.first(new, missing) if options.limit else new[:missing]
    counts = {"scored": len(ranking), "chosen": len(chosen), "before": len(existing)}
    write_record(directory, stage, approval, counts)
    display.log(f"the best {len(chosen)} of {len(ranking)} candidates by {approval.describe()}")
    return confirmed(pool, chosen).architectures


def ranked(
    pool: Pool, proxy: str, folder: Path, progress: Progress | None = None
) -> list[Architecture]:
    """Return the pool's candidates by descending score; those without a finite score last.

    Args:
        pool: the candidates.
        proxy: name of the proxy.
        folder: folder of the CSV with the scores, which is read first and updated.
        progress: called with the number of scores done and the total.
    """
    scores = _scores(pool.architectures, proxy, folder / f"screening_{proxy}.csv", progress)
    return sorted(pool.architectures, key=lambda a: _highest_first(scores[a.content_hash]))


@dataclass(frozen=True, kw_only=True)
class ScreeningStatus:
    """Progress of scoring, for the display of a stage (`nas.monitoring.progress`)."""

    proxy: str
    done: int
    total: int
    seconds_left: float

    def describe(self) -> str:
        """Return one line for the display."""
        left = f", {describe_seconds(self.seconds_left)} left" if self.done < self.total else ""
        return f"screening by {self.proxy}: {self.done}/{self.total} scores{left}"


def _shown(proxy: str, display: Display) -> Progress:
    started = time.monotonic()

    def progress(done: int, total: int) -> None:
        left = (time.monotonic() - started) / done * (total - done)
        display.show(ScreeningStatus(proxy=proxy, done=done, total=total, seconds_left=left))

    return progress


def _scores(
    pool: Sequence[Architecture], proxy: str, table: Path, progress: Progress | None
) -> Scores:
    """Return the score of each candidate by hash, computed where `table` lacks it."""
    hashes = [architecture.content_hash for architecture in pool]
    scores = _read_table(table)
    saved = time.monotonic()
    for done, (each, architecture) in enumerate(zip(hashes, pool, strict=True), start=1):
        if each not in scores:
            scores[each] = score_or_none(proxy, architecture)
        if progress:
            progress(done, len(pool))
        if time.monotonic() - saved > _SAVE_EVERY_S:
            write_text(table, _table(hashes, scores))
            saved = time.monotonic()
    write_text(table, _table(hashes, scores))
    return scores


def _read_table(path: Path) -> Scores:
    """Return the scores of an earlier run by hash; damaged rows are ignored."""
    scores: Scores = {}
    if not path.is_file():
        return scores
    with path.open(encoding="utf-8", errors="replace", newline="") as file:
        for row in csv.DictReader(file):
            each, text = row.get("hash"), row.get("score")
            with suppress(ValueError, TypeError):
                value = None if text == "" else float(text or "damaged")
                if each and (value is None or math.isfinite(value)):
                    scores[each] = value
    return scores


def _table(hashes: Sequence[str], scores: Mapping[str, float | None]) -> str:
    """Return a CSV of rank, number in the pool, hash and score of the scored candidates."""
    rows = [(number, each) for number, each in enumerate(hashes, start=1) if each in scores]
    rows.sort(key=lambda row: _highest_first(scores[row[1]]))
    cells = [(rank, n, each, scores[each]) for rank, (n, each) in enumerate(rows, start=1)]
    return pd.DataFrame(cells, columns=list(_COLUMNS)).to_csv(index=False, lineterminator="\n")


def _highest_first(score: float | None) -> float:
    return math.inf if score is None else -score
