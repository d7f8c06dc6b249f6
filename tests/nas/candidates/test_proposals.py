"""Proposals of both stages."""

import csv
from pathlib import Path
from typing import Any

import pytest
from fake_trials import make_request

from nas.candidates import flops as flops_module
from nas.candidates.flops import FlopsError, count_flops
from nas.candidates.proposals import (
    Proposals,
    propose,
    propose_stage1,
    propose_stage2,
    write_proposals,
)
from nas.search.request import Stage2Request
from search_spaces.architecture import load_architecture
from search_spaces.cost.detector import PARTS, flops_by_part, params_by_part, total
from search_spaces.errors import ConfigError, InfeasibleError
from search_spaces.zoo import load_zoo


@pytest.fixture
def closed_form(monkeypatch: pytest.MonkeyPatch) -> None:
    """Replace fvcore by the closed form, which is faster."""
    monkeypatch.setattr(flops_module, "confirm_flops", lambda a: total(flops_by_part(a)))


def hashes(found: Proposals) -> list[str]:
    return [candidate.hash for candidate in found.candidates]


# Independent of the machine, the version of numpy and the number of processes: never edit.
@pytest.mark.usefixtures("closed_form")
@pytest.mark.parametrize(
    ("giga", "stage2_space", "expected"),
    [
        (0.5, None, ["362fdfe0aae5", "59bfaf966a6f", "543dbaca3942"]),
        (2.5, None, ["94b290cc7aa0", "c478818fb0f5", "663faef14f1c"]),
        (0.5, "free", ["abe68be59a37", "173f9b004193", "f8444e781884"]),
        (0.5, "scaled", ["22626164103f", "aac06a0cb645", "074504b72959"]),
    ],
)
def test_candidates_of_a_seed(giga: float, stage2_space: str | None, expected: list[str]) -> None:
    reported: list[tuple[int, int]] = []
    common: dict[str, Any] = {"progress": lambda *counts: reported.append(counts)}
    flops, template = int(giga * 1e9), load_zoo("scrfd_0.5g")
    found = (
        propose_stage2(template, flops, 3, 0, stage2_space=stage2_space, **common)
        if stage2_space
        else propose_stage1(flops, 3, 0, **common)
    )
    assert hashes(found) == expected
    assert reported == [(1, 3), (2, 3), (3, 3)]


@pytest.mark.parametrize("flops", [500_000_000, 2_500_000_000, 34_000_000_000])
def test_every_candidate_is_within_tolerance_by_fvcore(flops: int) -> None:
    found = propose_stage1(flops, 4, 7, tolerance=0.01)
    assert [c.number for c in found.candidates] == [1, 2, 3, 4]
    assert len(set(hashes(found))) == 4
    for candidate in found.candidates:
        counted = count_flops(candidate.architecture)
        assert candidate.flops == counted
        assert candidate.total_flops == sum(counted.values())
        assert abs(candidate.total_flops - flops) <= 0.01 * flops
        assert candidate.params == total(params_by_part(candidate.architecture))


@pytest.mark.usefixtures("closed_form")
def test_auto_space_is_mobile_up_to_1g_and_resnet_above() -> None:
    assert propose_stage1(10**9, 1, 0).architectures[0].backbone.block == "depthwise"
    assert propose_stage1(10**9 + 1, 1, 0).architectures[0].backbone.block != "depthwise"
    resnet = propose_stage1(10**9, 1, 0, space="resnet")
    assert resnet.architectures[0].backbone.block in ("basic", "bottleneck")


@pytest.mark.usefixtures("closed_form")
def test_ranges_restrict_the_candidates() -> None:
    ranges = {"blocks": ["basic"], "depth": [2, 5], "stem": [16, 31]}
    found = propose_stage1(2_500_000_000, 5, 0, ranges=ranges)
    for architecture in found.architectures:
        assert architecture.backbone.block == "basic"
        assert set(architecture.backbone.depths) <= {2, 3, 4, 5}
        assert architecture.backbone.stem_widths[0] in (16, 24)


@pytest.mark.usefixtures("closed_form")
def test_more_candidates_extend_fewer_in_both_stages() -> None:
    template = load_zoo("resnet_2.5g")
    for propose_some in (
        lambda num: propose_stage1(1_500_000_000, num, 3),
        lambda num: propose_stage2(template, 2_500_000_000, num, 3),
    ):
        assert hashes(propose_some(5))[:2] == hashes(propose_some(2))


@pytest.mark.usefixtures("closed_form")
def test_fewer_candidates_than_requested_come_with_a_note() -> None:
    template = load_zoo("resnet_2.5g")
    found = propose_stage2(template, 2_500_000_000, 64, 0, stage2_space="scaled")
    assert len(found.candidates) == found.feasible == 55
    assert found.note == "55 of 64 candidates: no more satisfy the constraints"


@pytest.mark.usefixtures("closed_form")
def test_propose_takes_its_arguments_from_the_request() -> None:
    common = {"flops": 500_000_000, "num_candidates": 2, "seed": 4}
    first = make_request(**common, space="mobile", ranges={"depth": (1, 4)})
    expected = propose_stage1(500_000_000, 2, 4, space="mobile", ranges={"depth": (1, 4)})
    assert propose(first) == expected
    template = load_zoo("scrfd_0.5g")
    second = Stage2Request(
        **common,  # type: ignore[arg-type]
        **{name: getattr(first, name) for name in ("data", "data_fingerprint", "recipe")},
        template="scrfd_0.5g",
        template_hash=template.content_hash,
        stage2_space="scaled",
        ratio_tolerance=0.15,
    )
    assert propose(second, template) == propose_stage2(
        template, 500_000_000, 2, 4, stage2_space="scaled", ratio_tolerance=0.15
    )
    with pytest.raises(ConfigError, match="needs a template"):
        propose(second)


def test_closed_form_that_differs_from_fvcore_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(flops_module, "confirm_flops", lambda architecture: 1)
    with pytest.raises(FlopsError, match="this is a bug, please report it"):
        propose_stage1(500_000_000, 1, 0)


@pytest.mark.parametrize(
    ("change", "rule"),
    [
        ({"flops": 0}, "FLOPs target must be an integer of at least 1, got 0"),
        ({"flops": 2.5e9}, "FLOPs target must be an integer"),
        ({"num": 0}, "number of candidates must be an integer of at least 1, got 0"),
        ({"seed": -1}, "seed must be an integer of at least 0, got -1"),
        ({"tolerance": 0}, "greater than 0 and less than 1, got 0"),
        ({"tolerance": 1.5}, "got 1.5"),
        ({"space": "vit"}, "auto, mobile, resnet.*got 'vit'"),
        ({"ranges": {"speed": 1}}, "unknown keys"),
        ({"ranges": [1]}, "must be a mapping"),
        ({"flops": 10**6}, "nearest reachable"),
    ],
)
def test_invalid_argument_is_an_error(change: dict[str, object], rule: str) -> None:
    options = {"flops": 10**9, "num": 1, "seed": 0, **change}
    error = InfeasibleError if rule == "nearest reachable" else ConfigError
    with pytest.raises(error, match=rule):
        propose_stage1(**options)  # type: ignore[arg-type]


def test_write_proposals_writes_files_and_a_table(tmp_path: Path) -> None:
    found = propose_stage1(500_000_000, 2, 0)
    files = write_proposals(found, tmp_path / "new" / "out")
    assert [file.name for file in files] == ["0001.yaml", "0002.yaml"]
    assert tuple(load_architecture(file) for file in files) == found.architectures
    with (tmp_path / "new" / "out" / "candidates.csv").open() as table:
        rows = list(csv.DictReader(table))
    assert list(rows[0]) == ["number", "file", "flops", *PARTS, "params", "hash"]
    for row, candidate in zip(rows, found.candidates, strict=True):
        assert row["hash"] == candidate.hash
        assert int(row["flops"]) == sum(int(row[part]) for part in PARTS)
        assert (int(row["number"]), row["file"]) == (candidate.number, candidate.file_name)
        assert int(row["params"]) == candidate.params


@pytest.mark.usefixtures("closed_form")
def test_folder_can_be_extended_but_not_overwritten(tmp_path: Path) -> None:
    write_proposals(propose_stage1(500_000_000, 2, 0), tmp_path)
    (tmp_path / "notes.txt").write_text("mine")
    write_proposals(propose_stage1(500_000_000, 3, 0), tmp_path)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    assert len(before) == 5
    with pytest.raises(ConfigError, match=r"holds other proposals \(0001.yaml"):
        write_proposals(propose_stage1(500_000_000, 3, 1), tmp_path)
    with pytest.raises(ConfigError, match=r"holds other proposals \(0003.yaml"):
        write_proposals(propose_stage1(500_000_000, 2, 0), tmp_path)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before
    with pytest.raises(ConfigError, match="is not a folder"):
        write_proposals(propose_stage1(500_000_000, 1, 0), tmp_path / "notes.txt")
