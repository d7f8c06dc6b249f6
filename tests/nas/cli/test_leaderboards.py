"""Leaderboards as printed."""

from pathlib import Path

import pytest
from tiny import make_result

from nas.cli.shared.leaderboards import print_leaderboards
from nas.search.directory import SearchDir
from reports.leaderboard import Row, leaderboard
from search_spaces.zoo import load_zoo
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
