"""Screening of candidates by a proxy, and its approval."""

import csv
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from fake_search import FakeSearch
from fake_trials import hard_ap, make_architecture, make_data

from nas.candidates import audit, screening
from nas.candidates.pool import Pool
from nas.candidates.proxy_approval import Approval, ScreeningError, approve, recorded, write_record
from search_spaces.architecture import Architecture
from search_spaces.errors import ConfigError, TrialError
from search_spaces.spaces.sample import Sample
from search_spaces.yaml_files import read_yaml

POOL = 40


def pool_of(request: Any, template: Architecture | None) -> Pool:
    """Return candidates with 1, 2, ... blocks; the first are those of `fake_trials.propose`."""
    numbers = range(1, request.num_candidates + 1)
    architectures = tuple(make_architecture(number) for number in numbers)
    sample = Sample(architectures=architectures, feasible=len(architectures))
    return Pool(sample=sample, window=(1, 10**12))


@dataclass
class Search(FakeSearch):
    """A search that can screen."""

    def screen(
        self, num: int, *, against: Path | None = None, force: bool = False, **options: Any
    ) -> None:
        run = self.run_options(pool=pool_of, screen_audit=against, screen_force=force)
        self.begin(num, run, **options)

    @property
    def table(self) -> list[dict[str, str]]:
        with (self.directory.stage_folder(1) / "screening_zen.csv").open() as file:
            return list(csv.DictReader(file))

    def depths(self) -> list[int]:
        """Return a number that identifies each candidate, in their order."""
        return [a.backbone.depths[-1] for a in self.directory.candidates(1).values()]


@pytest.fixture
def search(tmp_path: Path) -> Search:
    return Search(root=tmp_path, data=make_data(tmp_path / "data"), asked={"epochs": 2})


@pytest.fixture
def scored(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Replace the proxy by the AP; the list gets the depths of scored candidates."""
    asked: list[int] = []

    def score(name: str, architecture: Architecture) -> float:
        asked.append(architecture.backbone.depths[-1])
        return hard_ap(architecture)

    monkeypatch.setattr(audit, "score", score)
    return asked


def best(numbers: range, num: int) -> list[int]:
    return sorted(numbers, key=lambda n: -hard_ap(make_architecture(n)))[:num]


@pytest.mark.usefixtures("scored")
def test_best_of_the_pool_follow_existing_candidates(search: Search) -> None:
    search.screen(6)
    search.screen(10, screen="zen", screen_from=POOL)
    others = [n for n in best(range(1, POOL + 1), POOL) if n > 6]
    assert search.depths() == [1, 2, 3, 4, 5, 6, *others[:4]]
    (note,) = (note for note in search.display.lines if note.startswith("the best"))
    assert note.startswith("the best 4 of 40 candidates by zen (tau +1.00, ")


@pytest.mark.usefixtures("scored")
def test_more_candidates_continue_the_same_ranking(search: Search, tmp_path: Path) -> None:
    search.screen(6)
    search.screen(8, screen="zen", screen_from=POOL)
    search.screen(12)  # the screen is as in the run before
    at_once = replace(search, name="other")
    at_once.screen(6)
    at_once.screen(12, screen="zen", screen_from=POOL)
    assert search.depths() == at_once.depths()


def test_scores_are_computed_once(search: Search, scored: list[int]) -> None:
    search.screen(6)
    search.screen(8, screen="zen", screen_from=POOL)
    assert sorted(scored) == sorted([*range(1, 7), *range(1, POOL + 1)])  # audit, then the pool
    scored.clear()
    search.screen(9)
    assert scored == []
    search.screen(10, screen_from=POOL + 2)
    assert scored == [POOL + 1, POOL + 2]


@pytest.mark.usefixtures("scored")
def test_scores_audit_and_pool_are_written_and_progress_is_shown(search: Search) -> None:
    search.screen(6)
    search.screen(8, screen="zen", screen_from=POOL)
    assert [int(row["rank"]) for row in search.table] == list(range(1, POOL + 1))
    assert [int(row["number"]) for row in search.table] == best(range(1, POOL + 1), POOL)
    for row in search.table:
        architecture = make_architecture(int(row["number"]))
        assert row["hash"] == architecture.content_hash
        assert float(row["score"]) == hard_ap(architecture)
    content = read_yaml(search.directory.stage_folder(1) / "screening.yaml")
    assert (content["proxy"], content["forced"]) == ("zen", False)
    assert content["source"] == f"stage 1 of {search.directory.root}"
    assert (content["audit"]["num"], content["audit"]["verdict"]) == (6, "usable")
    assert content["audit"]["tau"] == pytest.approx(1)
    assert content["pool"] == {"scored": 40, "chosen": 2, "before": 6}
    statuses = search.display.statuses
    shown = [status for status in statuses if isinstance(status, screening.ScreeningStatus)]
    assert [status.done for status in shown] == list(range(1, POOL + 1))
    assert shown[0].describe().startswith("screening by zen: 1/40 scores, ")
    assert shown[-1].describe() == "screening by zen: 40/40 scores"


def test_proxy_without_an_audit_or_that_failed_it_is_an_error(
    search: Search, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(ScreeningError, match=r"no audit \(0 finished trials"):
        search.screen(4, screen="zen", screen_from=POOL)
    assert search.directory.requests() == {}
    opposite = {"zen": -1, "-zen": 1}
    monkeypatch.setattr(audit, "score", lambda name, a: opposite[name] * hard_ap(a))
    search.screen(6)
    with pytest.raises(ScreeningError, match=r"tau -1\.00, .* \(reversed\); .*--screen-force"):
        search.screen(8, screen="zen", screen_from=POOL)
    assert len(search.depths()) == 6
    search.screen(7, screen="-zen", screen_from=POOL)
    assert search.depths()[6] == next(n for n in best(range(1, POOL + 1), POOL) if n > 6)
    assert (search.directory.stage_folder(1) / "screening_-zen.csv").is_file()


def test_refused_proxy_can_be_forced_and_is_audited_again(
    search: Search, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(audit, "score", lambda name, architecture: -hard_ap(architecture))
    search.screen(6)
    search.screen(8, screen="zen", screen_from=POOL, force=True)
    assert len(search.depths()) == 8
    found = recorded(search.directory, 1)
    assert found is not None
    assert (found.forced, found.audit["verdict"]) == (True, "reversed")
    assert any("zen (forced, tau -1.00" in note for note in search.display.lines)
    with pytest.raises(ScreeningError):
        search.screen(9)
    search.screen(9, force=True)
    assert len(search.depths()) == 9


@pytest.mark.usefixtures("scored")
def test_another_search_can_approve_a_proxy(search: Search, tmp_path: Path) -> None:
    search.screen(6)
    new = replace(search, name="new")
    new.screen(3, screen="zen", screen_from=POOL, against=search.directory.root)
    assert new.depths() == best(range(1, POOL + 1), 3)
    new.screen(5)  # approved before
    assert new.depths() == best(range(1, POOL + 1), 5)
    with pytest.raises(ConfigError, match="holds no search"):
        new.screen(6, against=tmp_path / "nothing")


@pytest.mark.usefixtures("scored")
def test_passed_audit_is_kept_when_the_proxy_has_chosen_trials(search: Search) -> None:
    search.screen(6)
    search.screen(8, screen="zen", screen_from=POOL)
    found = approve("zen", search.directory, 1, audit=None, force=False)
    assert found.audit["num"] == 6
    again = approve("zen", search.directory, 1, audit=search.directory.root, force=False)
    assert again.audit["num"] == 8


@pytest.mark.usefixtures("scored")
def test_screening_continues_after_being_killed(search: Search) -> None:
    search.screen(6)
    search.screen(7, screen="zen", screen_from=POOL)
    expected = search.table
    file = search.directory.stage_folder(1) / "screening_zen.csv"
    lines = file.read_text().splitlines()
    file.write_text("\n".join([*lines[:20], lines[20].rpartition(",")[0], "9,9,abc,what"]))
    search.screen(8)
    assert search.table == expected


def test_candidates_without_a_score_are_last(
    search: Search, monkeypatch: pytest.MonkeyPatch
) -> None:
    def score(name: str, architecture: Architecture) -> float:
        if architecture.backbone.depths[-1] % 2:
            raise TrialError("it lets nothing through")
        return 1.0

    monkeypatch.setattr(audit, "score", score)
    pool = pool_of(type("Request", (), {"num_candidates": 6}), None)
    ranking = screening.ranked(pool, "zen", search.root)
    assert [a.backbone.depths[-1] for a in ranking] == [2, 4, 6, 1, 3, 5]
    monkeypatch.setattr(audit, "score", lambda name, architecture: 2.0)
    assert screening.ranked(pool, "zen", search.root) == ranking  # as the table says


@pytest.mark.parametrize(
    ("options", "rule"),
    [
        ({"screen": "zem"}, "a proxy is one of"),
        ({"screen": "zen", "screen_from": 3}, r"at least num_candidates \(4\), got 3"),
        ({"screen_from": 0}, "screen_from must be an integer from 1 to 100000, got 0"),
        ({"screen": "zen", "strategy": "tpe"}, "among random candidates, got --strategy tpe"),
    ],
)
def test_contradicting_options_are_an_error(
    search: Search, options: dict[str, Any], rule: str
) -> None:
    with pytest.raises(ConfigError, match=rule):
        search.screen(4, **options)
    assert not search.directory.root.exists()


def test_damaged_record_is_an_error_with_its_name(search: Search) -> None:
    directory = search.directory
    write_record(directory, 1, Approval(proxy="zen"), {"scored": 1})
    assert recorded(directory, 1) == Approval(proxy="zen")
    for text in ("[]", "proxy: zen\nwhat: 1", "proxy: zen\naudit: 3"):
        (directory.stage_folder(1) / "screening.yaml").write_text(text)
        with pytest.raises(ConfigError, match=r"screening\.yaml"):
            recorded(directory, 1)
