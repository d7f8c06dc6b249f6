"""The command line as tests call it: in the process of the test, with all that it prints."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from nas.cli.main import run


def stage1(data: Path, *more: object, num: int = 3) -> list[object]:
    """Return the command of a small stage 1 with `num` candidates."""
    command = ["stage1", "--flops", "0.5G", "--data", data, "--num-candidates", num]
    return [*command, "--epochs", 2, "--image-size", 64, *more]


class Printed(NamedTuple):
    """Text on standard output and standard error."""

    out: str
    err: str


class CommandLine:
    """Runs commands and checks their exit codes."""

    def __init__(self, capsys: pytest.CaptureFixture[str]) -> None:
        self._capsys = capsys

    def run(self, command: Sequence[object], code: int = 0) -> Printed:
        """Return what a command prints that exits with `code`."""
        self._capsys.readouterr()
        found = run([str(word) for word in command])
        printed = Printed(*self._capsys.readouterr())
        assert found == code, printed.err
        return printed

    def json(self, command: Sequence[object]) -> Any:
        """Return the one document that a command prints with `--json`."""
        return json.loads(self.run([*command, "--json"]).out)

    def fail(self, command: Sequence[object], code: int = 1) -> str:
        """Return the one line that a command prints which fails."""
        printed = self.run(command, code)
        assert printed.out == ""
        assert printed.err.startswith("error: ")
        assert printed.err.count("\n") == 1
        return printed.err
