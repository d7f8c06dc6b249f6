"""Studies in a database."""

import importlib.util
from pathlib import Path

import pytest
from fake_search import stage1_command
from fake_trials import make_data, make_entries
from optuna.exceptions import StorageInternalError
from sqlalchemy.exc import OperationalError
from tiny import make_result

from nas.cli.main import run
from nas.search.directory import SearchDir
from nas.storage import study_database
from nas.storage.study_database import database_error, is_unreachable, with_driver
from nas.storage.study_storage import (
    StudyPlace,
    absolute_storage,
    check_storage,
    expanded,
    search_name,
)
from nas.study.study import Study, read_study
from search_spaces.errors import ConfigError

pytestmark = pytest.mark.usefixtures("without_training")


def place(tmp_path: Path, search: str = "a") -> StudyPlace:
    url = f"sqlite:///{tmp_path}/studies.db"
    return StudyPlace(journal=tmp_path / "none.journal", url=url, search=search)


def states(where: StudyPlace) -> dict[int, tuple[str, float | None]]:
    return {record.candidate: (record.state, record.hard) for record in read_study(where, 1)}


def test_searches_share_a_database_without_mixing(tmp_path: Path) -> None:
    first, second = place(tmp_path, "a"), place(tmp_path, "b")
    assert read_study(first, 1) == []
    assert list(tmp_path.iterdir()) == []  # reading creates nothing
    Study(first, 1).synchronize(make_entries(1), {1: make_result(0.5, 3)})
    Study(second, 1).synchronize(make_entries(1, 2), {})
    assert states(first) == {1: ("finished", 0.5)}
    assert states(second) == {1: ("waiting", None), 2: ("waiting", None)}


def test_search_names_differ_between_directories(tmp_path: Path) -> None:
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
def test_invalid_storage_is_an_error(storage: object, message: str) -> None:
    with pytest.raises(ConfigError, match=message) as refused:
        check_storage(storage)
    assert "me:secret" not in str(refused.value)


def test_password_comes_from_a_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    url = check_storage("postgresql://me:${DB_PASSWORD}@host/db")
    with pytest.raises(ConfigError, match="the variable DB_PASSWORD is not set"):
        expanded(url)
    monkeypatch.setenv("DB_PASSWORD", "secret")
    assert expanded(url) == "postgresql://me:secret@host/db"
    monkeypatch.setenv("DB_PASSWORD", "p@ss/w%rd$1")  # escaped for the URL
    assert expanded(url) == "postgresql://me:p%40ss%2Fw%25rd%241@host/db"


def test_sqlite_file_gets_its_absolute_path(tmp_path: Path) -> None:
    assert absolute_storage("sqlite:///s.db") == f"sqlite:///{tmp_path}/s.db"
    for kept in ("sqlite:////srv/s.db", "postgresql://me@host/db"):
        assert absolute_storage(kept) == kept


def stage1(*more: str, num: int = 2) -> list[str]:
    return stage1_command("data", "--search-dir", "s", *more, num=num)


def test_later_runs_use_the_database_of_the_first_run(tmp_path: Path) -> None:
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


def test_search_can_move_to_another_storage(tmp_path: Path) -> None:
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
def test_database_that_cannot_be_opened_is_one_line(
    tmp_path: Path, url: str, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    make_data(tmp_path / "data")
    assert run(stage1("--storage", url)) == 1
    line = capsys.readouterr().err.splitlines()[-1]
    assert line.startswith(f"error: --storage {url}")
    assert message in line


@pytest.mark.skipif(importlib.util.find_spec("psycopg2") is not None, reason="has the driver")
def test_missing_driver_is_named(tmp_path: Path) -> None:
    where = StudyPlace(journal=tmp_path / "j", url="postgresql+psycopg2://me@host/db", search="a")
    with pytest.raises(ConfigError, match="needs the package psycopg2, which is not installed"):
        Study(where, 1)


def test_reading_a_database_that_fails_is_one_line(tmp_path: Path) -> None:
    where = place(tmp_path)
    Study(where, 1).synchronize(make_entries(1), {})
    (tmp_path / "studies.db").write_bytes(b"no database" * 1000)
    with pytest.raises(ConfigError, match=r"^--storage sqlite.*file is not a database"):
        read_study(where, 1)


def test_search_continues_without_a_database_that_fails_and_the_next_start_synchronizes(
    tmp_path: Path,
) -> None:
    where, warnings = place(tmp_path), list[str]()
    study, file = Study(where, 1, warnings.append), tmp_path / "studies.db"
    study.synchronize(make_entries(1, 2), {})
    content = file.read_bytes()
    file.write_bytes(b"no database" * 1000)
    study.start(1)
    study.report(1, 1, 0.25)
    study.finish(1, make_result(0.5, 3))
    study.add(3, make_entries(3)[3])
    study.start(3)
    file.write_bytes(content)
    study.stop()
    assert study.is_lost
    (warning,) = warnings
    assert warning.startswith("--storage sqlite:///")
    assert "the search continues without its study" in warning
    assert states(where) == {1: ("waiting", None), 2: ("waiting", None)}
    Study(where, 1).synchronize(make_entries(1, 2, 3), {1: make_result(0.5, 3)})
    assert states(where) == {1: ("finished", 0.5), 2: ("waiting", None), 3: ("waiting", None)}


def test_cause_is_the_databases_own_error() -> None:
    own = OperationalError("SELECT 1", {}, OSError("connection refused"))
    optunas = StorageInternalError("invalid data in the commit")
    optunas.__cause__ = own
    failed = RuntimeError("a callback of Tune failed")
    failed.__context__ = optunas
    assert database_error(failed) is own
    assert is_unreachable(failed)
    assert database_error(ValueError("other")) is None
    assert not is_unreachable(StorageInternalError("too long"))


@pytest.mark.parametrize(
    ("installed", "url"),
    [
        ({"psycopg", "psycopg2"}, "postgresql+psycopg://me@host/db"),
        ({"psycopg2"}, "postgresql+psycopg2://me@host/db"),
        (set(), "postgresql+psycopg://me@host/db"),  # a missing driver is then the error
    ],
)
def test_postgresql_gets_an_installed_driver(
    installed: set[str], url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(study_database, "_is_installed", lambda name: name in installed)
    for written in ("postgresql://me@host/db", "postgres://me@host/db"):
        assert with_driver(written) == url
    assert with_driver("mysql://me@host/db") == "mysql://me@host/db"
