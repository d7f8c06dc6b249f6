"""One contract for studies in a journal and in a database, and the journal's own rules."""

from dataclasses import replace
from pathlib import Path

import pytest
from fake_trials import make_architecture, make_entries
from tiny import make_result

from nas.storage.study_storage import StudyPlace
from nas.study.study import Study, read_study
from trials.result import Outcome, TrialFailure, TrialResult, TrialStopped

FAILED = TrialFailure(reason="ValueError: no", attempts=2)
STOPPED = TrialStopped(epoch=2, epochs=9, hard=0.25, reason="by the scheduler")


def result(hard: float) -> TrialResult:
    return make_result(hard, 3, easy=0.9, medium=0.8, duration_s=2.0)


def states(place: StudyPlace | Path, stage: int = 1) -> dict[int, tuple[str, float | None]]:
    records = read_study(place, stage)
    assert len({record.candidate for record in records}) == len(records)
    return {record.candidate: (record.state, record.hard) for record in records}


@pytest.fixture
def journal(tmp_path: Path) -> Path:
    return tmp_path / "study.journal"


@pytest.fixture(params=["journal", "database"])
def place(request: pytest.FixtureRequest, journal: Path) -> StudyPlace:
    url = f"sqlite:///{journal}.db" if request.param == "database" else None
    return StudyPlace(journal=journal, url=url, search="a")


def opened(
    place: StudyPlace | Path, numbers: tuple[int, ...], outcomes: dict[int, Outcome], stage: int = 1
) -> Study:
    study = Study(place, stage)
    study.synchronize(make_entries(*numbers), outcomes)
    return study


def test_candidate_goes_from_waiting_over_running_to_its_outcome(place: StudyPlace) -> None:
    study = opened(place, (1, 2, 3, 4), {})
    assert states(place) == dict.fromkeys((1, 2, 3, 4), ("waiting", None))
    for number in (1, 2, 3):
        study.start(number)
        study.report(number, 2, 0.25)
    assert states(place)[1] == ("running", None)
    for number, outcome in {1: result(0.5), 2: FAILED, 3: STOPPED}.items():
        study.finish(number, outcome)
    found = [(r.state, r.hard, r.reason) for r in read_study(place, 1)]
    assert found[0] == ("finished", 0.5, found[0][2])
    assert found[1:3] == [("failed", None, "ValueError: no"), ("stopped", None, "by the scheduler")]
    assert found[3][:2] == ("waiting", None)
    assert [r.curve for r in read_study(place, 1)] == [{2: 0.25}] * 3 + [{}]


def test_synchronize_adds_outcomes_and_candidates_and_ends_running_trials(
    place: StudyPlace,
) -> None:
    opened(place, (1, 2, 3), {}).start(2)
    opened(place, (1, 2, 3, 4), {1: result(0.5), 3: FAILED})
    expected = {1: ("finished", 0.5), 2: ("waiting", None), 3: ("failed", None)}
    assert states(place) == {**expected, 4: ("waiting", None)}


def test_synchronizing_twice_changes_nothing(journal: Path) -> None:
    outcomes: dict[int, Outcome] = {1: result(0.5), 2: FAILED}
    opened(journal, (1, 2, 3), outcomes)
    before = journal.read_bytes()
    opened(journal, (1, 2, 3), outcomes)
    assert journal.read_bytes() == before


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        (result(0.5), None, ("waiting", None)),
        (result(0.5), result(0.25), ("finished", 0.25)),
        (result(0.5), FAILED, ("failed", None)),
        (STOPPED, None, ("waiting", None)),  # the trial is continued
    ],
    ids=["gone", "other", "failed", "stopped"],
)
def test_study_that_contradicts_the_folders_is_rebuilt(
    place: StudyPlace, before: Outcome, after: Outcome | None, expected: tuple[str, float | None]
) -> None:
    opened(place, (1, 2), {1: before})
    study = opened(place, (1, 2), {1: after} if after else {})
    assert states(place) == {1: expected, 2: ("waiting", None)}
    study.start(2)
    assert states(place)[2] == ("running", None)


def test_stages_are_separate_studies(place: StudyPlace) -> None:
    opened(place, (1,), {1: result(0.5)}, stage=1)
    opened(place, (1, 2), {2: result(0.75)}, stage=2)
    assert states(place, 1) == {1: ("finished", 0.5)}
    assert states(place, 2) == {1: ("waiting", None), 2: ("finished", 0.75)}


@pytest.mark.parametrize("cut", [1, 7, 40])
def test_truncated_last_line_loses_nothing(journal: Path, cut: int) -> None:
    outcomes: dict[int, Outcome] = {1: result(0.5), 2: result(0.25)}
    opened(journal, (1, 2), outcomes)
    journal.write_bytes(journal.read_bytes()[:-cut])
    read_study(journal, 1)  # as another terminal may
    opened(journal, (1, 2), outcomes)
    assert states(journal) == {1: ("finished", 0.5), 2: ("finished", 0.25)}


def test_damaged_journal_is_moved_aside_and_rebuilt(journal: Path) -> None:
    opened(journal, (1, 2), {1: result(0.5)})
    lines = journal.read_bytes().splitlines(keepends=True)
    journal.write_bytes(b"".join([*lines[:2], b'{"op": nonsense\n', *lines[2:]]))
    assert read_study(journal, 1) == []
    opened(journal, (1, 2), {1: result(0.5)})
    assert states(journal) == {1: ("finished", 0.5), 2: ("waiting", None)}
    assert journal.with_name("study.journal.damaged").exists()


def test_lock_of_a_dead_writer_is_removed(journal: Path) -> None:
    opened(journal, (1,), {})
    lock = journal.with_name("study.journal.lock")
    lock.symlink_to(journal)
    opened(journal, (1,), {}).start(1)  # would wait for 30 s
    assert states(journal) == {1: ("running", None)}


def test_missing_study_is_empty(place: StudyPlace) -> None:
    assert read_study(place, 1) == []
    opened(place, (1,), {})
    assert read_study(place, 2) == []


def test_optuna_loads_the_study_with_readable_parameter_names(journal: Path) -> None:
    import optuna
    from optuna.storages import JournalStorage
    from optuna.storages.journal import JournalFileBackend

    opened(journal, (1, 2), {1: result(0.5), 2: FAILED})
    storage = JournalStorage(JournalFileBackend(str(journal)))
    study = optuna.load_study(study_name="stage1", storage=storage)
    assert study.direction == optuna.study.StudyDirection.MAXIMIZE
    best = study.best_trial
    assert best.value == 0.5
    assert best.params["depth_c5"] == 1
    assert best.params["block"] == "basic"
    assert best.user_attrs["candidate"] == 1
    assert best.user_attrs["hash"] == make_architecture(1).content_hash
    assert best.user_attrs["file"] == "stage1/0001/architecture.yaml"
    assert (best.user_attrs["flops"], best.user_attrs["params"]) == (101, 11)


def test_rebuilt_study_has_the_learning_curves(place: StudyPlace) -> None:
    known = {1: replace(make_entries(1)[1], curve={2: 0.25, 3: 0.5})}
    Study(place, 1).synchronize(known, {1: result(0.5)})
    record = read_study(place, 1)[0]
    assert (record.state, record.curve) == ("finished", {2: 0.25, 3: 0.5})
