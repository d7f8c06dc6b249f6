"""Which candidates a stage tries: sampled from its space, counted, confirmed by fvcore."""

import csv
import io
import os
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nas.candidates.flops import confirm_flops
from nas.candidates.pool import Pool, sample_pool, stage1_pool, stage2_pool
from nas.search.request import AnyRequest
from search_spaces.architecture import Architecture, save_architecture
from search_spaces.cost.constraints import Window
from search_spaces.cost.detector import PARTS, flops_by_part, params_by_part, total
from search_spaces.errors import ConfigError, ScrfdNasError
from search_spaces.files import read_text, write_text

TABLE_FILE = "candidates.csv"
_TABLE_COLUMNS = ("number", "file", "flops", *PARTS, "params", "hash")
_CANDIDATE_FILE = re.compile(r"\d{4,}\.yaml")

Progress = Callable[[int, int], None]


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """A proposed architecture. `flops` by part are multiply-adds at 480x640."""

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
        feasible: how many distinct architectures satisfy the constraints; None where a
            step-1 space was too large to count.
        note: what the user should be told, such as fewer candidates than asked for.
        draws, accepted: of rejection sampling (step 1), 0 where it was not needed.
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
    """The candidates that a stage's request asks for; `template` for stage 2 only.

    Raises:
        ConfigError, InfeasibleError: see `nas.candidates.pool`.
    """
    pool = sample_pool(request, template)
    return confirmed(pool, pool.architectures, progress)


def propose_stage1(
    flops: int, num: int, seed: int, *, progress: Progress | None = None, **options: Any
) -> Proposals:
    """Step 1 (see `nas.candidates.pool`), confirmed; `progress` hears of each candidate."""
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
    """Step 2 (see `nas.candidates.pool`), confirmed; `progress` hears of each candidate."""
    pool = stage2_pool(template, flops, num, seed, **options)
    return confirmed(pool, pool.architectures, progress)


def confirmed(
    pool: Pool, kept: Sequence[Architecture], progress: Progress | None = None
) -> Proposals:
    """Those of the pool's candidates that are `kept`, each counted by fvcore on its network.

    Raises:
        FlopsError: the closed form and fvcore differ (a fault of this program).
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
    """Write `0001.yaml`, ... and `candidates.csv` into `folder`; returns the YAML files.

    Files that are there already with the same content are fine, so that more candidates of
    the same seed can be added.

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
    counted = confirm_flops(architecture)
    if not window[0] <= counted <= window[1]:
        raise ScrfdNasError(
            f"candidate {number} has {counted} FLOPs, outside of {window[0]} to {window[1]}; "
            "this is a fault of the program, please report it"
        )
    return Candidate(
        number=number,
        architecture=architecture,
        flops=flops_by_part(architecture),
        params=total(params_by_part(architecture)),
    )


def _refuse_others(root: Path, files: Mapping[Path, str]) -> None:
    """Refuse a folder with candidate files that these proposals do not have, or differently."""
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
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(_TABLE_COLUMNS)
    for candidate in candidates:
        numbers = (candidate.number, candidate.file_name, candidate.total_flops)
        parts = (candidate.flops[part] for part in PARTS)
        writer.writerow([*numbers, *parts, candidate.params, candidate.hash])
    return text.getvalue()
