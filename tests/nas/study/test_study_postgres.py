"""Searches with their studies in a real PostgreSQL server, which this module starts."""

import os
import pwd
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import optuna
import pytest
from drivers import PATIENCE_S, Start, drivers, finish, free_port, wait_until
from fake_trials import hard_ap, make_architecture, make_data

from nas.cli.main import run
from nas.search.directory import SearchDir
from nas.storage.study_storage import StudyPlace, search_name
from nas.study.study import read_study
from search_spaces.errors import ConfigError

pytest.importorskip("psycopg", reason="needs psycopg: pip install 'scrfd-nas[postgres]'")

pytestmark = pytest.mark.slow

PASSWORD = "p@ss/w%rd:1"  # with characters that have a meaning in URLs
NUM, EPOCHS = 4, 6


def programs() -> Path:
    """Return the folder of the server programs, which Debian keeps off the PATH."""
    found = [Path(path).parent for path in filter(None, [shutil.which("initdb")])]
    found += [path.parent for path in Path("/usr/lib/postgresql").glob("*/bin/initdb")]
    if not found:
        pytest.skip("needs a PostgreSQL server: initdb is neither on the PATH nor in /usr/lib")
    return found[-1]


def server_user() -> str | None:
    """Return a user to run the server: PostgreSQL refuses to run as root."""
    if os.geteuid() != 0:
        return None
    names = {entry.pw_name for entry in pwd.getpwall()}
    return "postgres" if "postgres" in names else "nobody"


class Server:
    """A PostgreSQL server with its own folder and port, a user `me` and a database `optuna`."""

    def __init__(self, folder: Path) -> None:
        self._folder, self._programs, self._user = folder, programs(), server_user()
        self.port = free_port()

    def make(self) -> None:
        if self._user:
            shutil.chown(self._folder, self._user)
        secret = self._folder / "password"
        secret.write_text(PASSWORD)
        secret.chmod(0o644)
        self._do("initdb", "-U", "me", "--auth=scram-sha-256", f"--pwfile={secret}")
        self.control("start")
        self._do("createdb", "-h", "127.0.0.1", "-p", str(self.port), "-U", "me", "optuna")

    def control(self, action: str, mode: str = "immediate") -> None:
        settings = f"-p {self.port} -k {self._folder} -c listen_addresses=127.0.0.1 -c fsync=off"
        more = [] if action == "start" else ["-m", mode]
        more += [] if action == "stop" else ["-o", settings]
        self._do("pg_ctl", action, "-w", "-l", str(self._folder / "log"), *more)

    def url(self, database: str = "optuna") -> str:
        return f"postgresql://me:${{DB_PASSWORD}}@127.0.0.1:{self.port}/{database}"

    def _do(self, program: str, *arguments: str) -> None:
        data = str(self._folder / "data")
        subprocess.run(
            [str(self._programs / program), *arguments],
            env=os.environ | {"PGDATA": data, "PGPASSWORD": PASSWORD},
            user=self._user,
            cwd=self._folder,
            stdout=subprocess.DEVNULL,
            check=True,
        )


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    # Other users cannot enter pytest's folder.
    with tempfile.TemporaryDirectory(prefix="scrfd-pg-") as folder:
        made = Server(Path(folder))
        made.make()
        yield made
        made.control("stop")


@pytest.fixture(autouse=True)
def password(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DB_PASSWORD", PASSWORD)


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    make_data(tmp_path / "data", epoch_s=0.3)
    with drivers() as start:
        yield start


def flags(tmp_path: Path, name: str, *more: str) -> list[str]:
    return ["--num-candidates", str(NUM), "--search-dir", str(tmp_path / name), *more]


def stage1(tmp_path: Path, name: str, url: str) -> list[str]:
    options = ["--flops", "1G", "--data", str(tmp_path / "data"), "--epochs", str(EPOCHS)]
    return ["stage1", *options, "--image-size", "64", *flags(tmp_path, name, "--storage", url)]


def hards(directory: SearchDir, stage: int) -> dict[int, float | None]:
    records = read_study(directory.study_place(stage), stage)
    return {record.candidate: record.hard for record in records}


def expected(first: int = 1) -> dict[int, float]:
    return {n: hard_ap(make_architecture(first + n - 1)) for n in range(1, NUM + 1)}


def test_two_searches_share_a_server_and_one_is_killed_and_continued(
    server: Server, start: Start, tmp_path: Path
) -> None:
    first, second = SearchDir(tmp_path / "first"), SearchDir(tmp_path / "second")
    both = [start(*stage1(tmp_path, name, server.url())) for name in ("first", "second")]
    wait_until(lambda: any(hards(first, 1).values()), *both)
    both[0].kill()
    both[0].wait()
    finish(both[1])
    finish(start("stage1", *flags(tmp_path, "first")))  # the storage is that of the first run
    finish(start("stage2", *flags(tmp_path, "first")))
    assert hards(first, 1) == hards(second, 1) == expected()
    assert hards(first, 2) == expected(31)
    assert not first.journal.exists()

    where = StudyPlace(journal=first.journal, url=server.url(), search="x").database()
    names = [f"{search_name(first.root)}/stage{stage}" for stage in (1, 2)]
    assert set(optuna.get_all_study_names(where)) >= {*names, f"{search_name(second.root)}/stage1"}
    study = optuna.load_study(study_name=names[0], storage=where)
    assert study.best_value == max(expected().values())
    assert all(set(trial.intermediate_values) for trial in study.trials)


def test_search_finishes_without_its_server_and_the_next_start_synchronizes(
    server: Server, start: Start, tmp_path: Path
) -> None:
    directory = SearchDir(tmp_path / "s")
    driver = start(*stage1(tmp_path, "s", server.url()))
    wait_until(lambda: bool(directory.outcomes(1)), driver)
    server.control("stop")
    _, errors = driver.communicate(timeout=PATIENCE_S)
    server.control("start")
    assert driver.returncode == 0, errors
    assert "Traceback" not in errors
    assert errors.count("the search continues without its study") == 1
    assert len(directory.outcomes(1)) == NUM
    finish(start("stage1", *flags(tmp_path, "s")))
    assert hards(directory, 1) == expected()


@pytest.mark.usefixtures("without_training")
@pytest.mark.parametrize(
    ("database", "secret", "message"),
    [
        ("optuna", "wrong", 'password authentication failed for user "me"'),
        ("nosuch", PASSWORD, 'database "nosuch" does not exist'),
    ],
)
def test_refusal_by_the_server_is_one_line_and_leaves_nothing(
    server: Server,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    database: str,
    secret: str,
    message: str,
) -> None:
    monkeypatch.setenv("DB_PASSWORD", secret)
    make_data(tmp_path / "data")
    assert run(stage1(tmp_path, "s", server.url(database))) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert message in line
    assert line.endswith("knows this user, password and database")
    assert not Path("s").exists()


def test_host_that_never_answers_is_given_up_soon(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"postgresql://me@127.0.0.1:{silent.getsockname()[1]}/optuna"
        began = time.monotonic()
        with pytest.raises(ConfigError, match="timeout"):
            StudyPlace(journal=tmp_path / "none", url=url, search="s").database()
        assert time.monotonic() - began < 30
