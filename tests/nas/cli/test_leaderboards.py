"""Leaderboards as printed."""

import json
from pathlib import Path

import pytest
from tiny import make_result

from nas.cli.shared.leaderboards import print_leaderboards
from nas.search.directory import SearchDir
from reports.leaderboard import Row, leaderboard
from search_spaces.zoo import load_zoo
from trials.evaluation.latency import Latency
from trials.result import TrialFailure


def test_leaderboards_of_large_networks_have_80_columns_with_failures_apart(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    network = load_zoo("scrfd_34g")
    failure = TrialFailure(reason="a long reason " * 9, kind="data", epoch=2, attempts=1)
    rows = [
        Row(candidate=100, architecture=network, outcome=make_result(0.5, duration_s=599_000.0)),
        Row(candidate=101, architecture=network, outcome=failure, epochs=1),
        Row(candidate=102, architecture=network),
    ]
    print_leaderboards(SearchDir(Path("runs")), {1: leaderboard(rows)}, as_json=False)
    ranked, others = capsys.readouterr().out.split("Not finished")
    assert max(map(len, ranked.splitlines())) == 80
    (best,) = (line for line in ranked.splitlines() if " 100 " in line)
    assert best.split()[:2] == ["1", "100"]
    assert best.endswith("9983.3")
    found = [line.split()[:3] for line in others.splitlines()]
    assert [words for words in found if words[:1] in (["101"], ["102"])] == [
        ["102", "0", "waiting"],
        ["101", "1", "failed:"],
    ]


def test_where_the_latency_is_limited_it_stands_in_place_of_the_minutes(
    capsys: pytest.CaptureFixture[str],
) -> None:
    sizes = {"threads": 1, "height": 480, "width": 640, "runs": 20}
    times = {"median_ms": 1234.5, "p95_ms": 1300.0, "slowest_ms": 1240.0}
    latency = Latency(runtime="onnxruntime", device="cpu", **sizes, **times)
    network, outcome = load_zoo("scrfd_34g"), make_result(0.5, duration_s=90.0)
    rows = [
        Row(candidate=1, architecture=network, outcome=outcome, latency=latency, max_latency=1250.0)
    ]
    print_leaderboards(SearchDir(Path("runs")), {1: leaderboard(rows)}, as_json=False)
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].rstrip().endswith("within 1250 ms an image")
    assert lines[1].split()[-1] == "ms"
    assert lines[3].split()[-1] == "1234.50"
    assert len(lines[3].rstrip()) <= 80
    print_leaderboards(SearchDir(Path("runs")), {1: leaderboard(rows)}, as_json=True)
    (row,) = json.loads(capsys.readouterr().out)["stage1"]
    assert (row["latency_ms"], row["max_latency_ms"]) == (1234.5, 1250.0)
