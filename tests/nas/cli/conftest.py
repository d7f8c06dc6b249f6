"""Fixtures for the tests of the commands."""

from pathlib import Path

import pytest
from command_line import CommandLine
from fake_trials import make_data


@pytest.fixture
def cli(capsys: pytest.CaptureFixture[str]) -> CommandLine:
    return CommandLine(capsys)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A folder of data for fake trials."""
    return make_data(tmp_path / "data")
