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
from trials.result import TrialFailure, TrialResult, TrialStopped, save_outcome


def result(hard: float) -> TrialResult:
    return make_result(hard, 2)


def trials_by_depth(hards: list[float]) -> list[tuple[Architecture, float]]:
    """Return candidates with 1, 2, ... blocks and their APs."""
    return [(make_architecture(n), hard) for n, hard in enumerate(hards, start=1)]


def test_only_complete_trials_count(tmp_path: Path) -> None:
    make_data(tmp_path / "data")
    directory = SearchDir(tmp_path / "search")
    outcomes = {
        1: result(0.5),
        2: TrialFailure(reason="no", attempts=2),
        3: TrialStopped(epoch=1, epochs=2, hard=0.9, reason="rung"),
        4: None,
        5: result(0.25),
    }
    for number, outcome in outcomes.items():
        save_architecture(make_architecture(number), directory.architecture_file(1, number))
        if outcome is not None:
            save_outcome(outcome, directory.trial_folder(1, number))
    expected = [(make_architecture(1), 0.5), (make_architecture(5), 0.25)]
    assert finished_trials(directory, 1) == expected


def test_proxy_in_the_order_of_the_aps_is_usable() -> None:
    (found,) = audit_proxies(trials_by_depth([0.1, 0.2, 0.3, 0.4, 0.5, 0.6]), ["depth"])
    assert found.correlation.tau == pytest.approx(1)
    assert (found.is_usable, found.verdict) == (True, "usable")
    assert found.to_dict()["verdict"] == "usable"


def test_proxy_in_the_opposite_order_is_reversed() -> None:
    (found,) = audit_proxies(trials_by_depth([0.6, 0.5, 0.4, 0.3, 0.2, 0.1]), ["depth"])
    assert found.correlation.tau == pytest.approx(-1)
    assert (found.is_usable, found.verdict) == (False, "reversed")


def test_proxy_without_a_clear_order_is_not_usable() -> None:
    (found,) = audit_proxies(trials_by_depth([0.3, 0.1, 0.5, 0.2, 0.6, 0.4]), ["depth"])
    assert found.correlation.tau is not None
    assert found.correlation.tau > 0
    assert (found.is_usable, found.verdict) == (False, "reaches 0")


def test_equal_scores_and_few_trials_are_not_usable() -> None:
    same = [(make_architecture(1), hard) for hard in (0.1, 0.2, 0.3, 0.4, 0.5)]
    (found,) = audit_proxies(same, ["depth"])
    assert (found.is_usable, found.verdict) == (False, "all equal")
    (found,) = audit_proxies(trials_by_depth([0.1, 0.2, 0.3, 0.4]), ["depth"])
    assert (found.is_usable, found.verdict) == (False, "too few trials")
    with pytest.raises(ConfigError, match="at least 3 finished trials, got 2"):
        audit_proxies(trials_by_depth([0.1, 0.2]), ["depth"])


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


def test_unknown_proxy_is_an_error() -> None:
    with pytest.raises(ConfigError, match="a proxy is one of"):
        audit_proxies(trials_by_depth([0.1, 0.2, 0.3]), ["zem"])
