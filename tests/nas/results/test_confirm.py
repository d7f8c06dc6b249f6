"""Confirmation of the best candidates with other seeds."""

import csv
import errno
import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import fake_trials
import pandas as pd
import pytest
from fake_search import FakeSearch
from fake_trials import FakeCluster, make_data, set_faults

from nas.monitoring.housekeeping import clean
from nas.resolve_request import stage_template
from nas.results.confirm import Confirmation, confirm
from nas.search.disk import DiskFullError
from nas.search.request import Stage1Request
from nas.storage.driver_lock import BusyError
from reports.leaderboard import to_records
from search_spaces.errors import ConfigError, IncomparableError
from trials.result import TrialFailure, load_outcome

SEED = 5
# By the search's seed 3 leads 1, 2 and 4; by all seeds 1 leads.
CURVES = {"1": 0.60, "1/6": 0.60, "1/7": 0.61, "2": 0.59, "2/6": 0.60, "2/7": 0.60}
CURVES |= {"3": 0.64, "3/6": 0.55, "3/7": 0.56, "4": 0.30, "4/6": 0.31, "4/7": 0.29}


class Search(FakeSearch):
    """A search whose candidates are confirmed."""

    def confirm(self, top: int = 3, seeds: int = 3) -> pd.DataFrame:
        asked = Confirmation(stage=1, top=top, seeds=seeds)
        return confirm(self.directory, asked, self.run_options(), self.display)


def curves(hards: Mapping[str, float]) -> dict[str, list[float]]:
    return {key: [hard] for key, hard in hards.items()}


def make_search(root: Path, **faults: Any) -> Search:
    return Search(root, make_data(root / "data", **faults), asked={"epochs": 2, "seed": SEED})


@pytest.fixture
def search(tmp_path: Path) -> Search:
    made = make_search(tmp_path, curves=curves(CURVES))
    made.begin()
    return made


def ranks(table: pd.DataFrame) -> list[tuple[Any, ...]]:
    rows = to_records(table)
    return [(row["rank"], row["candidate"], row["seeds"]) for row in rows]


def test_a_full_disk_stops_it_and_no_training_counts_as_failed(
    search: Search, monkeypatch: pytest.MonkeyPatch
) -> None:
    no_space = Mock(side_effect=OSError(errno.ENOSPC, "No space left on device"))
    with monkeypatch.context() as full:
        full.setattr(fake_trials, "run", no_space)
        with pytest.raises(DiskFullError, match="the same command continues"):
            search.confirm(top=2)
    assert not list(search.directory.stage_folder(1).rglob("seeds/*/result.json"))
    rows = to_records(search.confirm(top=2))
    assert sorted(row["candidate"] for row in rows if row["seeds"] == 3) == [1, 3]


def test_the_best_are_trained_with_new_seeds_and_ranked_by_their_means(search: Search) -> None:
    kept = (search.directory.journal, search.directory.search_file)
    before = [path.read_bytes() for path in kept]
    table = search.confirm(top=3)
    folder = search.directory.stage_folder(1)
    found = sorted(str(path.parent.relative_to(folder)) for path in folder.rglob("result.json"))
    assert found == sorted(
        [f"000{n}" for n in (1, 2, 3, 4)] + [f"000{n}/seeds/{s}" for n in (1, 2, 3) for s in (6, 7)]
    )
    assert ranks(table) == [(1, 1, 3), (1, 2, 3), (1, 3, 3), (4, 4, None)]
    first = to_records(table)[0]
    assert first["hard_mean"] == pytest.approx((0.60 + 0.60 + 0.61) / 3)
    assert first["hard"] == 0.60
    assert "seeds" in search.directory.leaderboard_file(1).read_text().splitlines()[0]
    assert search.confirm(top=3).equals(table)
    assert search.cluster.asked == []
    assert "6 trainings with other seeds done, none to run" in search.display.lines
    assert ranks(search.confirm(top=4))[-1] == (4, 4, 3)  # clearly worse: not tied
    # The search itself is unchanged.
    assert search.directory.numbers(1) == [1, 2, 3, 4]
    assert [path.read_bytes() for path in kept] == before


def test_a_training_differs_from_its_candidate_in_the_seed_alone(
    search: Search, monkeypatch: pytest.MonkeyPatch
) -> None:
    tasks: list[Any] = []
    monkeypatch.setattr(FakeCluster, "run", lambda self, job: tasks.extend(job.tasks))
    search.confirm(top=1)
    assert [task.settings["seed"] for task in tasks] == [6, 7]
    request = search.directory.requests()[1]
    assert isinstance(request, Stage1Request)
    plain = request.settings(1)
    for task in tasks:
        assert {**task.settings, "seed": SEED}.items() == vars(plain).items()
        assert task.recipe == request.recipe
        assert (task.until, task.data_root) == (None, str(search.data))
    assert [Path(task.folder).parent.parent.name for task in tasks] == ["0003", "0003"]


def test_a_failed_training_counts_for_nothing_and_is_tried_again(search: Search) -> None:
    set_faults(search.data, curves=curves(CURVES), **{"raise": {"1/6": 1}})
    table = search.confirm(top=2, seeds=3)
    failure = load_outcome(search.directory.seed_folder(1, 1, 6))
    assert isinstance(failure, TrialFailure)
    assert failure.attempts == 2
    assert {row["candidate"]: row["seeds"] for row in to_records(table)}[1] == 2
    assert any("candidate 1, seed 6 failed: ValueError" in text for text in search.display.lines)
    set_faults(search.data, curves=curves(CURVES))
    assert ranks(search.confirm(top=2, seeds=3))[0] == (1, 1, 3)
    assert len(search.cluster.asked) == 1


def test_an_interrupted_confirmation_continues(
    search: Search, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = FakeCluster.run

    def run(self: FakeCluster, job: Any) -> None:
        whole(self, replace(job, tasks=job.tasks[:2]))
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(FakeCluster, "run", run)
        with pytest.raises(KeyboardInterrupt):
            search.confirm()
    # The first new seed of the two best; the leaderboard says so already.
    with search.directory.leaderboard_file(1).open() as file:
        assert [row["seeds"] for row in csv.DictReader(file)] == ["2", "2", "", ""]
    search.confirm()
    assert len(search.cluster.asked) == 4


def test_more_candidates_and_seeds_are_added_and_choose_the_template_of_stage_2(
    search: Search,
) -> None:
    assert stage_template(search.directory, 1, "best")[0] == "3"
    search.confirm(top=1, seeds=2)
    assert len(search.cluster.asked) == 1
    table = search.confirm(top=2, seeds=3)
    assert len(search.cluster.asked) == 3
    assert ranks(table)[0] == (1, 1, 3)
    assert stage_template(search.directory, 1, "best")[0] == "1"


def test_other_data_and_a_second_driver_are_refused(search: Search) -> None:
    with search.directory.held(1), pytest.raises(BusyError, match="works here"):
        search.confirm()
    (search.data / "train" / "labelv2.txt").write_text("# other.jpg 64 64\n")
    with pytest.raises(IncomparableError, match="data_fingerprint: "):
        search.confirm()


def test_an_unfinished_stage_cannot_be_confirmed(tmp_path: Path) -> None:
    made = make_search(tmp_path, **{"raise": {"1": 1}})
    with pytest.raises(ConfigError, match="stage 1 has not begun"):
        made.confirm()
    made.begin(num_candidates=1)
    with pytest.raises(ConfigError, match="no candidate has finished"):
        made.confirm()


@pytest.mark.parametrize(("values", "name"), [({"top": 0}, "top"), ({"seeds": 1}, "seeds")])
def test_impossible_confirmations_are_refused(values: dict[str, int], name: str) -> None:
    with pytest.raises(ConfigError, match=f"{name} must be an integer from"):
        Confirmation(stage=1, **values)


def test_the_command_prints_means_and_ties(
    search: Search, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from nas import stage
    from nas.cli.main import run

    monkeypatch.setattr(stage, "RunOptions", lambda address: search.run_options())
    command = ["confirm", "--top", "2", "--search-dir", str(search.directory.root)]
    assert run(command) == 0
    output = capsys.readouterr().out
    assert "Confirmed with more seeds; one rank: tied" in output
    assert "0.6033" in output
    assert run([*command, "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)["stage1"]
    assert [row["candidate"] for row in rows][:2] == [1, 3]
    assert rows[0]["tie"] == rows[1]["tie"] == 1
    assert rows[2]["seeds"] is None


def test_cleaning_spares_what_is_still_to_be_continued(search: Search) -> None:
    search.confirm(top=1, seeds=3)
    finished, begun = (search.directory.seed_folder(1, 3, seed) for seed in (6, 7))
    for folder in (finished, begun):
        (folder / "last.pt").write_bytes(b"state")
    (begun / "result.json").unlink()
    clean(search.directory)
    assert not (finished / "last.pt").exists()
    assert (begun / "last.pt").exists()
