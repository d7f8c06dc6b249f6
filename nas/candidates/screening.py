"""Training-free screening: score many candidates, train the most promising.

The order is that of the scores, the highest first, and of the pool among equals. It depends
on the space, the budget, the seed, the proxy and the size of the pool, so that asking for more
candidates later continues the same list. Scores are kept in a CSV beside the candidates
as they come, by content hash, so that nothing is computed twice.
"""

import csv
import io
import math
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from nas.candidates.audit import score_or_none
from nas.candidates.pool import Pool
from nas.candidates.proposals import confirmed
from nas.candidates.proxy_approval import approve, write_record
from nas.monitoring.progress import Update
from nas.monitoring.status import describe_seconds
from nas.search.directory import SearchDir
from nas.search.request import AnyRequest
from search_spaces.architecture import Architecture
from search_spaces.files import write_text

_COLUMNS = ("rank", "number", "hash", "score")
_SAVE_EVERY_S = 10.0

Progress = Callable[[int, int], None]
Scores = dict[str, float | None]


def screened_candidates(
    directory: SearchDir,
    request: AnyRequest,
    template: Architecture | None,
    sample: Callable[[AnyRequest, Architecture | None], Pool],
    audit: Path | None,
    force: bool,
    update: Update,
    note: Callable[[str], None],
) -> list[Architecture]:
    """The stage's candidates: those that it has, then the best of the pool, fvcore-confirmed.

    Raises:
        ScreeningError: the proxy did not pass its audit (`nas.candidates.proxy_approval`).
        ConfigError, InfeasibleError: see `nas.candidates.pool`.
    """
    stage, existing = request.stage, directory.candidates(request.stage)
    approval = approve(request.screen, directory, stage, audit=audit, force=force)
    pool = sample(replace(request, num_candidates=request.screen_from), template)
    if pool.note:
        note(pool.note)
    shown = _shown(request.screen, update)
    ranking = ranked(pool, request.screen, directory.stage_folder(stage), shown)
    chosen = new_ones(ranking, request.num_candidates - len(existing), existing.values())
    counts = {"scored": len(ranking), "chosen": len(chosen), "before": len(existing)}
    write_record(directory, stage, approval, counts)
    note(f"the best {len(chosen)} of {len(ranking)} candidates by {approval.describe()}")
    return [*existing.values(), *confirmed(pool, chosen).architectures]


def ranked(
    pool: Pool, proxy: str, folder: Path, progress: Progress | None = None
) -> list[Architecture]:
    """The pool, the most promising first; those without a finite score last.

    Args:
        pool: the candidates.
        proxy: a proxy's name.
        folder: of the CSV with the scores, which is read before and written after.
        progress: called with scores done and wanted.
    """
    scores = _scores(pool.architectures, proxy, folder / f"screening_{proxy}.csv", progress)
    return sorted(pool.architectures, key=lambda a: _highest_first(scores[a.content_hash]))


def new_ones(
    ranking: Sequence[Architecture], num: int, known: Collection[Architecture]
) -> list[Architecture]:
    """The first `num` of the ranking that are not among `known`; fewer if there are no more."""
    hashes = {architecture.content_hash for architecture in known}
    return [a for a in ranking if a.content_hash not in hashes][:num]


@dataclass(frozen=True, kw_only=True)
class ScreeningStatus:
    """How far scoring has come, for the display of a stage (`nas.monitoring.progress`)."""

    proxy: str
    done: int
    total: int
    seconds_left: float

    def describe(self) -> str:
        """One line for people."""
        left = f", {describe_seconds(self.seconds_left)} left" if self.done < self.total else ""
        return f"screening by {self.proxy}: {self.done}/{self.total} scores{left}"


def _shown(proxy: str, update: Update) -> Progress:
    started = time.monotonic()

    def progress(done: int, total: int) -> None:
        left = (time.monotonic() - started) / done * (total - done)
        update(ScreeningStatus(proxy=proxy, done=done, total=total, seconds_left=left), "")

    return progress


def _scores(
    pool: Sequence[Architecture], proxy: str, table: Path, progress: Progress | None
) -> Scores:
    """The score of each candidate by hash, computed where `table` does not have it."""
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
    """The scores of an earlier run by hash; a damaged row counts as none."""
    scores: Scores = {}
    if not path.is_file():
        return scores
    with path.open(encoding="utf-8", errors="replace", newline="") as file:
        for row in csv.DictReader(file):
            each, text = row.get("hash"), row.get("score")
            value = _parsed(text)
            if each and (value is not None or text == ""):
                scores[each] = value
    return scores


def _parsed(text: str | None) -> float | None:
    try:
        value = float(text or "")
    except ValueError:
        return None
    return value if math.isfinite(value) else None


def _table(hashes: Sequence[str], scores: Mapping[str, float | None]) -> str:
    """Rank, number in the pool, hash and score; those not scored yet are left out."""
    rows = [(number, each) for number, each in enumerate(hashes, start=1) if each in scores]
    rows.sort(key=lambda row: _highest_first(scores[row[1]]))
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(_COLUMNS)
    for rank, (number, each) in enumerate(rows, start=1):
        score = scores[each]
        writer.writerow([rank, number, each, "" if score is None else repr(score)])
    return text.getvalue()


def _highest_first(score: float | None) -> float:
    return math.inf if score is None else -score
