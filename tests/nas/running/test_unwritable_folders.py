"""Homes and temporary folders that are missing, full, read-only or too long."""

import errno
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from nas.running import cluster
from search_spaces.errors import ConfigError

# No process may create files there, root's included.
UNWRITABLE = "/proc/none"


def set_tmpdir(monkeypatch: pytest.MonkeyPatch, folder: Path | str) -> None:
    monkeypatch.setenv("TMPDIR", str(folder))
    monkeypatch.setattr(tempfile, "tempdir", None)  # where the module remembers its choice


def test_a_missing_temporary_folder_is_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    set_tmpdir(monkeypatch, UNWRITABLE)
    assert cluster._temporary_root() == "/tmp"


def test_a_long_temporary_folder_is_replaced_if_there_is_another(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    set_tmpdir(monkeypatch, tmp_path)
    assert tempfile.gettempdir() == str(tmp_path)
    assert len(str(tmp_path)) > 16
    assert cluster._temporary_root() == "/tmp"
    monkeypatch.setattr(os, "access", lambda path, mode: path != "/tmp")
    with pytest.raises(ConfigError, match="at most 16 characters: set TMPDIR to one"):
        cluster._temporary_root()


def test_full_temporary_folders_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def find() -> str:  # as `tempfile` does if it can write a byte nowhere
        raise FileNotFoundError(errno.ENOENT, "No usable temporary directory found")

    monkeypatch.setattr(tempfile, "gettempdir", find)
    with pytest.raises(ConfigError, match=r"with free space .* set TMPDIR to one"):
        cluster._temporary_root()


@pytest.mark.parametrize("home", ["empty", "with a token", "unwritable"])
def test_a_private_ray_needs_no_home(
    home: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", UNWRITABLE if home == "unwritable" else str(tmp_path))
    if home == "with a token":
        (tmp_path / ".ray").mkdir()
        (tmp_path / ".ray" / "auth_token").write_text("0123")
    tokens = cluster._own_token()
    assert set(tokens) == ({"RAY_AUTH_TOKEN"} if home == "unwritable" else set())
    assert cluster._own_token() != tokens or not tokens


def test_figures_need_no_home(tmp_path: Path) -> None:
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("XDG_", "MPL"))}
    done = subprocess.run(
        [sys.executable, "-c", "import reports.figures.chart"],
        env=environment | {"HOME": UNWRITABLE},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
