"""Which candidates a stage tries: sampled from its space, counted, confirmed by fvcore."""

import csv
import io
import os
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nas.flops import confirm_flops
from nas.request import AnyRequest, Stage1Request
from search_spaces.architecture import Architecture, save_architecture
from search_spaces.backbone_ranges import BackboneRanges
from search_spaces.backbone_space import BackboneSpace, Sample
from search_spaces.backbone_template import family_for
from search_spaces.checks import require_integer
from search_spaces.constraints import flops_window
from search_spaces.cost import PARTS, flops_by_part, params_by_part, total
from search_spaces.errors import ConfigError, ScrfdNasError
from search_spaces.files import read_text, write_text
from search_spaces.network_ranges import NetworkRanges
from search_spaces.network_space import NetworkSpace
from search_spaces.randomness import seeded_generator

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
        ConfigError, InfeasibleError: see `propose_stage1` and `propose_stage2`.
    """
    if isinstance(request, Stage1Request):
        return propose_stage1(
            request.flops,
            request.num_candidates,
            request.seed,
            space=request.space,
            tolerance=request.tolerance,
            ranges=request.ranges,
            progress=progress,
        )
    if template is None:
        raise ConfigError("stage 2 needs a template architecture, got none")
    return propose_stage2(
        template,
        request.flops,
        request.num_candidates,
        request.seed,
        stage2_space=request.stage2_space,
        ratio_tolerance=request.ratio_tolerance,
        tolerance=request.tolerance,
        ranges=request.ranges,
        progress=progress,
    )


def propose_stage1(
    flops: int,
    num: int,
    seed: int,
    *,
    space: str = "auto",
    tolerance: float = 0.02,
    ranges: Mapping[str, Any] | None = None,
    progress: Progress | None = None,
) -> Proposals:
    """Step 1: `num` backbones under the neck and head of the budget.

    Asking for more with the same seed begins with the same candidates.

    Args:
        flops: budget in multiply-adds at 480x640.
        num: candidates wanted; fewer come back if there are no more (see `note`).
        seed: of the sampling.
        space: `auto`, `mobile` or `resnet`.
        tolerance: relative deviation from the budget.
        ranges: changes to fields of `BackboneRanges`.
        progress: called with candidates confirmed and wanted.

    Raises:
        ConfigError: a value breaks a rule.
        InfeasibleError: no architecture satisfies the constraints.
    """
    _check(flops, num, seed, tolerance)
    drawn_from = BackboneRanges.of_family(family_for(space, flops), **_changes(ranges))
    backbones = BackboneSpace.for_budget(flops, drawn_from, tolerance)
    sample = backbones.sample(seeded_generator(seed, purpose=1), num)
    return _confirmed(sample, backbones.window, progress)


def propose_stage2(
    template: Architecture,
    flops: int,
    num: int,
    seed: int,
    *,
    stage2_space: str = "free",
    ratio_tolerance: float = 0.1,
    tolerance: float = 0.02,
    ranges: Mapping[str, Any] | None = None,
    progress: Progress | None = None,
) -> Proposals:
    """Step 2: `num` networks around `template`, uniform among all that satisfy the constraints.

    The template itself is a candidate only if it is drawn (and a member: its GroupNorm
    groups must be those of the rule). See `propose_stage1` for what is not said here.

    Args:
        stage2_space: `free` or `scaled` (see `search_spaces.network_space`).
        ratio_tolerance: on each stage's FLOPs relative to the stem's.
        ranges: changes to fields of `NetworkRanges`.

    Raises:
        ConfigError: a value breaks a rule.
        InfeasibleError: no architecture satisfies the constraints.
    """
    _check(flops, num, seed, tolerance)
    networks = NetworkSpace(
        template=template,
        flops=flops,
        space=stage2_space,
        ratio_tolerance=ratio_tolerance,
        tolerance=tolerance,
        ranges=NetworkRanges.changed(_changes(ranges)),
    )
    sample = networks.sample(seeded_generator(seed, purpose=2), num)
    return _confirmed(sample, networks.window, progress)


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


def _check(flops: int, num: int, seed: int, tolerance: float) -> None:
    flops_window(flops, tolerance)
    require_integer(num, "the number of candidates", 1)
    require_integer(seed, "the seed", 0)


def _changes(ranges: Mapping[str, Any] | None) -> dict[str, Any]:
    if ranges is not None and not isinstance(ranges, Mapping):
        raise ConfigError(f"ranges must be a mapping, got {type(ranges).__name__}")
    return {str(name): value for name, value in (ranges or {}).items()}


def _confirmed(sample: Sample, window: tuple[int, int], progress: Progress | None) -> Proposals:
    """The sample as numbered candidates, each counted by fvcore on its torch network."""
    candidates = []
    for number, architecture in enumerate(sample.architectures, start=1):
        candidates.append(_candidate(number, architecture, window))
        if progress:
            progress(number, len(sample.architectures))
    return Proposals(
        candidates=tuple(candidates),
        feasible=sample.feasible,
        note=sample.note,
        draws=sample.draws,
        accepted=sample.accepted,
    )


def _candidate(number: int, architecture: Architecture, window: tuple[int, int]) -> Candidate:
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
