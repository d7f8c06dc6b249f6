"""Studies in a database: the same as in the journal, beside those of other searches."""

import importlib.util
from pathlib import Path
from typing import Any

import pytest
from fake_trials import make_architecture, make_data
from optuna.exceptions import StorageInternalError, UpdateFinishedTrialError
from sqlalchemy.exc import OperationalError

from nas.cli.main import run
from nas.search.directory import SearchDir
from nas.storage import study_database
from nas.storage.study_database import lasting
from nas.storage.study_storage import (
    StudyPlace,
    absolute_storage,
    check_storage,
    expanded,
    search_name,
)
from nas.study.study import Entry, Study, read_study
from search_spaces.errors import ConfigError
from trials.result import Outcome, TrialFailure, TrialResult

FAILED = TrialFailure(reason="ValueError: no", attempts=2)


def result(hard: float) -> TrialResult:
    return TrialResult(
        easy=0.9, medium=0.8, hard=hard, epochs=3, best_epoch=3, best_hard=hard, loss=1.0,
        duration_s=2.0, images_per_second=1.0, params=1,
    )  # fmt: skip


def entries(*numbers: int) -> dict[int, Entry]:
    return {
        n: Entry(architecture=make_architecture(n), file=f"{n}.yaml", flops=100 + n, params=n)
        for n in numbers
    }


pytestmark = pytest.mark.usefixtures("without_training")


def place(tmp_path: Path, search: str = "a") -> StudyPlace:
    url = f"sqlite:///{tmp_path}/studies.db"
    return StudyPlace(journal=tmp_path / "none.journal", url=url, search=search)


def states(where: StudyPlace) -> dict[int, tuple[str, float | None]]:
    return {record.candidate: (record.state, record.hard) for record in read_study(where, 1)}


def test_a_database_holds_what_a_journal_would(tmp_path: Path) -> None:
    where = place(tmp_path)
    study = Study(where, 1)
    study.synchronize(entries(1, 2, 3), {})
    study.start(1)
    study.report(1, 2, 0.25)
    assert states(where)[1] == ("running", None)
    study.finish(1, result(0.5))
    study.start(2)
    study.finish(2, FAILED)
    assert states(where) == {1: ("finished", 0.5), 2: ("failed", None), 3: ("waiting", None)}
    first, second, _ = read_study(where, 1)
    assert (first.curve, second.reason) == ({2: 0.25}, "ValueError: no")
    assert not where.journal.exists()


def test_a_study_that_contradicts_the_folders_is_written_anew(tmp_path: Path) -> None:
    where = place(tmp_path)
    before: dict[int, Outcome] = {1: result(0.5)}
    Study(where, 1).synchronize(entries(1, 2), before)
    Study(where, 1).synchronize(entries(1, 2), {2: result(0.75)})
    assert states(where) == {1: ("waiting", None), 2: ("finished", 0.75)}


def test_searches_share_a_database_without_mixing(tmp_path: Path) -> None:
    first, second = place(tmp_path, "a"), place(tmp_path, "b")
    Study(first, 1).synchronize(entries(1), {1: result(0.5)})
    Study(second, 1).synchronize(entries(1, 2), {})
    assert states(first) == {1: ("finished", 0.5)}
    assert states(second) == {1: ("waiting", None), 2: ("waiting", None)}


def test_a_database_that_is_not_there_is_empty_and_not_made_by_reading(tmp_path: Path) -> None:
    assert read_study(place(tmp_path), 1) == []
    assert list(tmp_path.iterdir()) == []


def test_names_tell_directories_apart(tmp_path: Path) -> None:
    name = search_name(tmp_path / "my search")
    assert name.startswith("my_search-")
    assert name == search_name(tmp_path / "x" / ".." / "my search")
    assert name != search_name(tmp_path / "x" / "my search")


@pytest.mark.parametrize(
    ("storage", "message"),
    [
        ("somewhere", "--storage is `journal` or a URL"),
        (3, "--storage is `journal` or a URL"),
        ("postgresql://me:secret@host/db", "must not hold a password"),
        ("http://[::1", "--storage is `journal` or a URL"),
    ],
)
def test_a_storage_that_cannot_be_kept_is_refused(storage: object, message: str) -> None:
    with pytest.raises(ConfigError, match=message) as refused:
        check_storage(storage)
    assert "me:secret" not in str(refused.value)


def test_a_password_comes_from_a_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    url = check_storage("postgresql://me:${DB_PASSWORD}@host/db")
    with pytest.raises(ConfigError, match="the variable DB_PASSWORD is not set"):
        expanded(url)
    monkeypatch.setenv("DB_PASSWORD", "secret")
    assert expanded(url) == "postgresql://me:secret@host/db"
    monkeypatch.setenv("DB_PASSWORD", "p@ss/w%rd$1")  # as it is; what a URL needs is done here
    assert expanded(url) == "postgresql://me:p%40ss%2Fw%25rd%241@host/db"


def test_a_sqlite_file_is_kept_by_its_absolute_path(tmp_path: Path) -> None:
    assert absolute_storage("sqlite:///s.db") == f"sqlite:///{tmp_path}/s.db"
    for kept in ("sqlite:////srv/s.db", "postgresql://me@host/db"):
        assert absolute_storage(kept) == kept


def stage1(*more: str, num: int = 2) -> list[str]:
    command = ["stage1", "--flops", "0.5G", "--data", "data", "--num-candidates", str(num)]
    return [*command, "--epochs", "2", "--image-size", "64", "--search-dir", "s", *more]


def test_a_search_keeps_its_studies_in_the_database_of_its_first_run(tmp_path: Path) -> None:
    make_data(tmp_path / "data")
    assert run(stage1("--storage", "sqlite:///team.db")) == 0
    assert run(stage1(num=3)) == 0
    assert run(["stage2", "--search-dir", "s", "--num-candidates", "1"]) == 0
    directory = SearchDir(Path("s"))
    assert not directory.journal.exists()
    found = directory.study_place(2)
    assert found.url == f"sqlite:///{tmp_path}/team.db"
    assert found.study_name(2) == f"{search_name(Path('s'))}/stage2"
    counts = [len(read_study(directory.study_place(stage), stage)) for stage in (1, 2)]
    assert counts == [3, 1]
    Path("s").rename("moved")  # the name stays, so that the study is found
    assert len(read_study(SearchDir(Path("moved")).study_place(1), 1)) == 3


def test_a_search_can_move_to_another_storage(tmp_path: Path) -> None:
    make_data(tmp_path / "data")
    assert run(stage1()) == 0
    journal = SearchDir(Path("s")).journal
    assert journal.exists()
    assert run(stage1("--storage", "sqlite:///team.db")) == 0
    moved = SearchDir(Path("s")).study_place(1)
    assert {record.state for record in read_study(moved, 1)} == {"finished"}
    assert run(stage1("--storage", "journal", num=3)) == 0
    assert len(read_study(journal, 1)) == 3


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("sqlite:////no/such/folder/s.db", "unable to open database file"),
        ("nosuch://host/db", "sqlalchemy.dialects:nosuch"),
        ("sqlite:///$NOT_SET_AT_ALL/s.db", "the variable NOT_SET_AT_ALL is not set"),
    ],
)
def test_a_database_that_cannot_be_opened_is_one_line(
    tmp_path: Path, url: str, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    make_data(tmp_path / "data")
    assert run(stage1("--storage", url)) == 1
    line = capsys.readouterr().err.splitlines()[-1]
    assert line.startswith(f"error: --storage {url}")
    assert message in line


@pytest.mark.skipif(importlib.util.find_spec("psycopg2") is not None, reason="has the driver")
def test_a_missing_driver_is_named(tmp_path: Path) -> None:
    where = StudyPlace(journal=tmp_path / "j", url="postgresql+psycopg2://me@host/db", search="a")
    with pytest.raises(ConfigError, match="needs the package psycopg2, which is not installed"):
        Study(where, 1)


def test_a_database_that_goes_away_is_one_line(tmp_path: Path) -> None:
    where = place(tmp_path)
    study = Study(where, 1)
    study.synchronize(entries(1), {})
    (tmp_path / "studies.db").write_bytes(b"no database" * 1000)
    with pytest.raises(ConfigError, match="the same command continues"), where.guarded():
        study.start(1)
    with pytest.raises(ConfigError, match="--storage sqlite"):
        read_study(where, 1)


class Failing:
    """A storage whose answers are given; the errors among them are raised."""

    def __init__(self, *answers: Any) -> None:
        self.answers = list(answers)

    def get_all_studies(self) -> Any:
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer


def away() -> Exception:
    """What Optuna makes of a server that is not there."""
    error = StorageInternalError("invalid data in the commit")
    error.__cause__ = OperationalError("SELECT 1", {}, OSError("connection refused"))
    return error


def test_calls_are_repeated_while_the_server_is_away(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(study_database, "_PAUSE_S", 0.0)
    assert lasting(Failing(away(), away(), [7])).get_all_studies() == [7]
    # It was done, and only the answer got lost.
    repeated = Failing(away(), UpdateFinishedTrialError())
    assert lasting(repeated).get_all_studies() is None


def test_calls_are_not_repeated_for_ever_or_for_other_reasons(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for error in (
        KeyError("no study"),
        StorageInternalError("too long"),
        UpdateFinishedTrialError(),
    ):
        with pytest.raises(type(error)):
            lasting(Failing(error, [])).get_all_studies()
    monkeypatch.setattr(study_database, "PATIENCE_S", -1.0)
    with pytest.raises(StorageInternalError):
        lasting(Failing(away(), [])).get_all_studies()


def test_a_database_that_fails_in_tune_is_still_named(tmp_path: Path) -> None:
    failed = RuntimeError("a callback of Tune failed")
    failed.__context__ = away()
    with (
        pytest.raises(ConfigError, match="connection refused; the same command"),
        place(tmp_path).guarded(),
    ):
        raise failed


@pytest.mark.parametrize(
    ("installed", "url"),
    [
        ({"psycopg", "psycopg2"}, "postgresql+psycopg://me@host/db"),
        ({"psycopg2"}, "postgresql+psycopg2://me@host/db"),
        (set(), "postgresql+psycopg://me@host/db"),  # whose absence is then the error
    ],
)
def test_postgresql_gets_a_driver_that_is_installed(
    installed: set[str], url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(study_database, "_is_installed", lambda name: name in installed)
    for written in ("postgresql://me@host/db", "postgres://me@host/db"):
        assert study_database._with_driver(written) == url
    assert study_database._with_driver("mysql://me@host/db") == "mysql://me@host/db"
