"""Audits of proxies against finished trials."""

from pathlib import Path

import pytest
from fake_trials import make_architecture, make_data
from tiny import make_result

from nas.candidates import audit
from nas.candidates.audit import audit_proxies, finished_trials
from nas.search.directory import SearchDir
from search_spaces.architecture import Architecture, save_architecture
from search_spaces.errors import ConfigError, TrialError
from trials.result import TrialFailure, TrialStopped, save_outcome


def trials_by_depth(hards: list[float]) -> list[tuple[Architecture, float]]:
    """Return candidates with 1, 2, ... blocks and their APs."""
    return [(make_architecture(n), hard) for n, hard in enumerate(hards, start=1)]


def test_only_complete_trials_count(tmp_path: Path) -> None:
    make_data(tmp_path / "data")
    directory = SearchDir(tmp_path / "search")
    outcomes = {
        1: make_result(0.5, 2),
        2: TrialFailure(reason="no", attempts=2),
        3: TrialStopped(epoch=1, epochs=2, hard=0.9, reason="rung"),
        4: None,
        5: make_result(0.25, 2),
    }
    for number, outcome in outcomes.items():
        save_architecture(make_architecture(number), directory.architecture_file(1, number))
        if outcome is not None:
            save_outcome(outcome, directory.trial_folder(1, number))
    expected = [(make_architecture(1), 0.5), (make_architecture(5), 0.25)]
    assert finished_trials(directory, 1) == expected


@pytest.mark.parametrize(
    ("hards", "tau", "verdict"),
    [
        ([0.1, 0.2, 0.3, 0.4, 0.5, 0.6], 1, "usable"),
        ([0.6, 0.5, 0.4, 0.3, 0.2, 0.1], -1, "reversed"),
        ([0.3, 0.1, 0.5, 0.2, 0.6, 0.4], 1 / 3, "reaches 0"),
        ([0.1, 0.2, 0.3, 0.4], 1, "too few trials"),
    ],
)
def test_verdict_follows_from_the_order_of_the_aps(
    hards: list[float], tau: float, verdict: str
) -> None:
    (found,) = audit_proxies(trials_by_depth(hards), ["depth"])
    assert found.correlation.tau == pytest.approx(tau)
    assert (found.is_usable, found.verdict) == (verdict == "usable", verdict)
    assert found.to_dict()["verdict"] == verdict


def test_equal_scores_are_not_usable_and_two_trials_or_unknown_proxies_are_errors() -> None:
    same = [(make_architecture(1), hard) for hard in (0.1, 0.2, 0.3, 0.4, 0.5)]
    (found,) = audit_proxies(same, ["depth"])
    assert (found.is_usable, found.verdict) == (False, "all equal")
    with pytest.raises(ConfigError, match="at least 3 finished trials, got 2"):
        audit_proxies(trials_by_depth([0.1, 0.2]), ["depth"])
    with pytest.raises(ConfigError, match="a proxy is one of"):
        audit_proxies(trials_by_depth([0.1, 0.2, 0.3]), ["zem"])


def test_all_proxies_are_audited_with_progress() -> None:
    reported: list[tuple[int, int]] = []
    found = audit_proxies(
        trials_by_depth([0.1, 0.2, 0.3]),
        progress=lambda done, wanted: reported.append((done, wanted)),
    )
    assert [item.proxy for item in found] == list(audit.PROXIES)
    assert reported == [(n, 3 * len(found)) for n in range(1, 3 * len(found) + 1)]
    assert all(item.seconds >= 0 for item in found)
    again = audit_proxies(trials_by_depth([0.1, 0.2, 0.3]))
    assert [item.correlation for item in again] == [item.correlation for item in found]


def test_candidates_without_a_score_are_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    def score(name: str, architecture: Architecture) -> float:
        if architecture == make_architecture(2):
            raise TrialError("it lets nothing through")
        return float(architecture.backbone.depths[-1])

    monkeypatch.setattr(audit, "score", score)
    (found,) = audit_proxies(trials_by_depth([0.1, 0.9, 0.2, 0.3, 0.4, 0.5]), ["zen"])
    assert (found.correlation.num, found.without_score) == (5, 1)
    assert found.correlation.tau == pytest.approx(1)
