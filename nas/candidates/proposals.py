"""Propose candidates of a stage: sampled from its space and confirmed by fvcore."""

import os
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from nas.candidates.flops import confirm_within
from nas.candidates.pool import Pool, Stage2Options, sample_pool, stage1_pool, stage2_pool
from nas.search.request import AnyRequest
from search_spaces.architecture import Architecture, save_architecture
from search_spaces.cost.constraints import Window
from search_spaces.cost.detector import PARTS, flops_by_part, params_by_part, total
from search_spaces.errors import ConfigError
from search_spaces.files import read_text, write_text

TABLE_FILE = "candidates.csv"
_TABLE_COLUMNS = ("number", "file", "flops", *PARTS, "params", "hash")
_CANDIDATE_FILE = re.compile(r"\d{4,}\.yaml")

Progress = Callable[[int, int], None]


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """A proposed architecture with its multiply-adds by part at 480x640 and its parameters."""

    number: int
    architecture: Architecture
    flops: Mapping[str, int]
    params: int

    @property
    def total_flops(self) -> int:
        """FLOPs of all parts."""
        return sum(self.flops.values())

    @property
    def hash(self) -> str:
        """Content hash of the architecture."""
        return self.architecture.content_hash

    @property
    def file_name(self) -> str:
        """`0001.yaml`."""
        return f"{self.number:04d}.yaml"


@dataclass(frozen=True, kw_only=True)
class Proposals:
    """Candidates of a stage, numbered from 1 in the order drawn, all distinct.

    Attributes:
        feasible: number of distinct architectures that satisfy the constraints; None where a
            stage-1 space is too large to count.
        note: message for the user, such as fewer candidates than requested.
        draws, accepted: counts of rejection sampling (stage 1), 0 where it was not needed.
    """

    candidates: tuple[Candidate, ...]
    feasible: int | None
    note: str | None = None
    draws: int = 0
    accepted: int = 0

    @property
    def architectures(self) -> tuple[Architecture, ...]:
        """The candidates' architectures."""
        return tuple(candidate.architecture for candidate in self.candidates)


def propose(
    request: AnyRequest, template: Architecture | None = None, progress: Progress | None = None
) -> Proposals:
    """Return the candidates of a stage's request; `template` is for stage 2 only.

    Raises:
        ConfigError, InfeasibleError: see `nas.candidates.pool`.
    """
    pool = sample_pool(request, template)
    return confirmed(pool, pool.architectures, progress)


def propose_stage1(
    flops: int, num: int, seed: int, *, progress: Progress | None = None, **options: Any
) -> Proposals:
    """Return confirmed candidates of stage 1 (see `nas.candidates.pool.stage1_pool`)."""
    pool = stage1_pool(flops, num, seed, **options)
    return confirmed(pool, pool.architectures, progress)


def propose_stage2(
    template: Architecture,
    flops: int,
    num: int,
    seed: int,
    *,
    progress: Progress | None = None,
    **options: Any,
) -> Proposals:
    """Return confirmed candidates of stage 2 (see `nas.candidates.pool.stage2_pool`)."""
    pool = stage2_pool(template, flops, num, seed, Stage2Options(**options))
    return confirmed(pool, pool.architectures, progress)


def confirmed(
    pool: Pool, kept: Sequence[Architecture], progress: Progress | None = None
) -> Proposals:
    """Return the candidates `kept` from the pool, each confirmed by fvcore on its network.

    Args:
        pool: what was sampled.
        kept: some of its architectures, in the order of their numbers.
        progress: called with the number of confirmed candidates and the total.

    Raises:
        FlopsError: the closed form and fvcore differ (a bug in this program).
    """
    candidates = []
    for number, architecture in enumerate(kept, start=1):
        candidates.append(_candidate(number, architecture, pool.window))
        if progress:
            progress(number, len(kept))
    return Proposals(
        candidates=tuple(candidates),
        feasible=pool.sample.feasible,
        note=pool.note,
        draws=pool.sample.draws,
        accepted=pool.sample.accepted,
    )


def write_proposals(proposals: Proposals, folder: str | os.PathLike[str]) -> list[Path]:
    """Write `0001.yaml`, ... and `candidates.csv` into `folder`, and return the YAML files.

    Existing files with the same content are kept, so that more candidates of the same seed can
    be added.

    Raises:
        ConfigError: the folder holds other proposals; nothing is written then.
    """
    root = Path(folder)
    files = [root / candidate.file_name for candidate in proposals.candidates]
    contents = [candidate.architecture.to_yaml() for candidate in proposals.candidates]
    _refuse_others(root, dict(zip(files, contents, strict=True)))
    for candidate, file in zip(proposals.candidates, files, strict=True):
        save_architecture(candidate.architecture, file)
    write_text(root / TABLE_FILE, _table(proposals.candidates))
    return files


def _candidate(number: int, architecture: Architecture, window: Window) -> Candidate:
    confirm_within(architecture, window)
    return Candidate(
        number=number,
        architecture=architecture,
        flops=flops_by_part(architecture),
        params=total(params_by_part(architecture)),
    )


def _refuse_others(root: Path, files: Mapping[Path, str]) -> None:
    """Raise ConfigError if the folder holds candidate files that differ from these."""
    if not root.exists():
        return
    if not root.is_dir():
        raise ConfigError(f"{root}: is not a folder; choose another --out")
    for path in sorted(root.iterdir()):
        if not _CANDIDATE_FILE.fullmatch(path.name):
            continue
        if files.get(path) != read_text(path):
            raise ConfigError(
                f"{root}: holds other proposals ({path.name} is not among these or differs); "
                "choose another --out or empty it"
            )


def _table(candidates: Sequence[Candidate]) -> str:
    rows = [
        (c.number, c.file_name, c.total_flops, *(c.flops[part] for part in PARTS), c.params, c.hash)
        for c in candidates
    ]
    return pd.DataFrame(rows, columns=list(_TABLE_COLUMNS)).to_csv(index=False, lineterminator="\n")
