"""A journal that is not longer than what it says, however often a search was continued."""

from pathlib import Path
from typing import Any

import pytest
from fake_trials import make_architecture

from nas.study import journal as study_journal
from nas.study.journal import shorten
from nas.study.study import Entry, Study, read_study
from trials.result import TrialFailure, TrialStopped

STOPPED = TrialStopped(epoch=1, epochs=9, hard=0.25, reason="by the scheduler")


def entry(number: int) -> Entry:
    architecture = make_architecture(number)
    return Entry(architecture=architecture, file=str(number), flops=1, params=1, curve={1: 0.5})


@pytest.fixture
def journal(tmp_path: Path) -> Path:
    """Two stages with a trial of every kind."""
    path = tmp_path / "study.journal"
    for stage in (1, 2):
        study = Study(path, stage)
        study.synchronize({number: entry(number) for number in range(1, 5)}, {})
        for number in (1, 2, 3):
            study.start(number)
            study.report(number, 3, number / 8)
        study.finish(1, TrialFailure(reason="no"))
        study.finish(2, STOPPED)
    return path


def continue_often(path: Path, times: int) -> None:
    for _ in range(times):
        study = Study(path, 1)
        outcomes = {1: TrialFailure(reason="no"), 2: STOPPED}
        study.synchronize({number: entry(number) for number in range(1, 5)}, outcomes)
        study.start(3)
        study.start(4)


def everything(path: Path) -> list[list[dict[str, Any]]]:
    """All that Optuna knows, ids excepted."""
    own = ("_trial_id", "number")
    studies = study_journal._trials(path)
    return [
        [{k: v for k, v in vars(trial).items() if k not in own} for trial in trials]
        for trials in studies.values()
    ]


def test_a_long_journal_is_written_anew_and_says_the_same(
    journal: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(study_journal, "FEW_LINES", 0)
    monkeypatch.setattr(study_journal, "MOST_A_TRIAL", 1)
    before, records = everything(journal), [read_study(journal, stage) for stage in (1, 2)]
    assert [record.state for record in records[0]] == ["failed", "stopped", "running", "waiting"]
    assert len(journal.read_bytes().splitlines()) > 30
    shorten(journal)
    assert len(journal.read_bytes().splitlines()) == 2 + 8  # a study or a trial a line
    assert everything(journal) == before
    assert [read_study(journal, stage) for stage in (1, 2)] == records
    continue_often(journal, 1)
    assert [record.state for record in read_study(journal, 1)][:2] == ["failed", "stopped"]


def test_a_short_journal_is_left_as_it_is(journal: Path, tmp_path: Path) -> None:
    before = journal.read_bytes()
    shorten(journal)
    assert journal.read_bytes() == before
    shorten(tmp_path / "nowhere")
    assert not (tmp_path / "nowhere").exists()


def test_a_journal_does_not_grow_with_restarts(
    journal: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(study_journal, "FEW_LINES", 5)
    monkeypatch.setattr(study_journal, "MOST_A_TRIAL", 5)
    bound = 5 + 8 * (5 + 2)  # lines, of which five starts add up to 60
    lengths = []
    for _ in range(6):
        continue_often(journal, 5)
        lengths.append(len(journal.read_bytes().splitlines()))
    assert max(lengths) < bound + 60
    assert lengths[-1] < sum(lengths[:3])
    assert [record.candidate for record in read_study(journal, 1)] == [1, 2, 3, 4]


def test_a_damaged_journal_is_put_aside_when_it_is_long_too(
    journal: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(study_journal, "FEW_LINES", 0)
    lines = journal.read_bytes().splitlines(keepends=True)
    journal.write_bytes(b"".join([*lines[:5], b"damaged\n", *lines[5:]]))
    Study(journal, 1)
    assert read_study(journal, 1) == []
    assert journal.with_name("study.journal.damaged").exists()
