"""Conversion of a search directory into the plain data of the report."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from nas.candidates.space_plugins import BUILT_IN
from nas.monitoring.rows import stage_rows
from nas.results.baselines import baseline_command, read_baselines
from nas.results.evaluations import add_evaluations
from nas.search.decisions import DECISIONS_FILE, read_decisions
from nas.search.directory import SearchDir
from nas.search.request import AnyRequest, Stage1Request
from nas.study.study import read_study
from reports.curves import Curve, read_curve
from reports.leaderboard import Row
from reports.search_data import CandidateData, SamplerDraws, SearchData, StageData
from search_spaces.architecture import Architecture
from search_spaces.errors import DataError
from search_spaces.randomness import seeded_generator
from search_spaces.spaces.backbone_draws import draw
from search_spaces.spaces.backbone_ranges import BackboneRanges
from search_spaces.spaces.backbone_space import CHUNK, BackboneSpace
from search_spaces.spaces.neck_and_head import family_for

DRAWS = 4 * CHUNK  # raw draws in the histogram


def read_search(directory: SearchDir) -> SearchData:
    """Return all stages of a search as plain data.

    A damaged file counts as missing, as it does for the search itself.

    Raises:
        ConfigError: `search.yaml` or an architecture's file is damaged.
    """
    requests = directory.requests()
    stages = [read_stage(directory, stage) for stage in sorted(requests)]
    return SearchData(
        name=directory.root.resolve().name,
        stages=add_evaluations(directory, stages),
        location=str(directory),
        baselines=read_baselines(directory),
        baseline_command=baseline_command(directory, requests[min(requests)]) if requests else "",
    )


def read_stage(directory: SearchDir, stage: int) -> StageData:
    """Return one stage as plain data; raises the errors of `read_search`."""
    request = directory.requests()[stage]
    rows = stage_rows(directory, stage)
    return StageData(
        stage=stage,
        request=request.to_dict(),
        record=directory.origin(stage),
        candidates=tuple(_candidates(directory, stage, rows)),
        decisions=tuple(read_decisions(directory.stage_folder(stage) / DECISIONS_FILE)),
        draws=sampler_draws(request),
    )


def sampler_draws(request: AnyRequest, count: int = DRAWS) -> SamplerDraws | None:
    """Return the first `count` raw draws of a stage-1 search, and how many are accepted.

    The draws are those of the search itself with this seed. None for stage 2, whose members are
    counted and drawn by rank, so that none is rejected, and for plug-in spaces.
    """
    if not isinstance(request, Stage1Request) or request.space not in BUILT_IN:
        return None
    family = family_for(request.space, request.flops)
    ranges = BackboneRanges.of_family(family, **{str(k): v for k, v in request.ranges.items()})
    space = BackboneSpace.for_budget(request.flops, ranges, request.tolerance)
    generator = seeded_generator(request.seed, purpose=1)
    flops, accepted = [], 0
    for begin in range(0, count, CHUNK):
        draws = draw(ranges, generator, min(CHUNK, count - begin))
        flops.append(space.flops_of(draws))
        accepted += int(space.accepts(draws).sum())
    return SamplerDraws(flops=np.concatenate(flops), accepted=accepted, window=space.window)


def _candidates(directory: SearchDir, stage: int, rows: Sequence[Row]) -> Iterator[CandidateData]:
    records = read_study(directory.study_place(stage), stage)
    ended = {record.candidate: record.ended for record in records}
    for row in rows:
        folder = directory.trial_folder(stage, row.candidate)
        yield CandidateData(
            **vars(row),
            curve=_curve(folder, row.candidate, row.architecture),
            ended=ended.get(row.candidate),
        )


def _curve(folder: Path, number: int, architecture: Architecture) -> Curve | None:
    try:
        return read_curve(folder, number, architecture)
    except DataError:
        return None
