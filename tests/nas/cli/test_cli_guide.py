"""The help reads like a guide: every command has its place and an example that is right."""

import os
import re
import subprocess
import sys
from importlib import import_module

import pytest
from command_line import CommandLine

from nas.cli.guide import EPILOG, GUIDE, reflowed
from nas.cli.main import build_app, run

EXAMPLES = [(name, *place) for commands in GUIDE.values() for name, place in commands.items()]


def test_the_guide_has_the_commands_of_its_modules_and_no_others() -> None:
    modules = {module for _, module, _ in EXAMPLES}
    found = {(n, file) for file in modules for n in import_module(f"nas.cli.{file}").COMMANDS}
    assert found == {(name, module) for name, module, _ in EXAMPLES}


@pytest.mark.parametrize(("name", "module", "line"), EXAMPLES)
def test_every_example_has_flags_that_exist(name: str, module: str, line: str) -> None:
    words = line.split()
    command = build_app().commands[name]
    if hasattr(command, "commands"):
        command = command.commands[words[0]]
    known = {flag for item in command.params for flag in item.opts}
    assert set(re.findall(r"(?<!\S)--[a-z0-9-]+", line)) <= known
    required = {item.opts[0] for item in command.params if item.required and "-" in item.opts[0]}
    assert required <= set(words)


def test_the_help_has_one_line_for_each_command_at_80_columns(
    cli: CommandLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    for group, names in (
        ((), build_app().commands),
        (("data",), build_app().commands["data"].commands),
    ):
        lines = cli.run([*group, "--help"]).out.splitlines()
        rows = [line for line in lines if line.startswith("│ ") and line[2:].split()[0] in names]
        assert len(rows) == len(names)
        assert all(row.rstrip("│ ").endswith(".") for row in rows)


def test_paragraphs_of_the_help_are_filled(
    cli: CommandLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "300")
    paragraph = reflowed(EPILOG).split("\n\n")[-1]
    assert paragraph in cli.run(["--help"]).out
    assert reflowed("one\ntwo\n\nthree") == "one two\n\nthree"


def test_the_help_shows_groups_in_order_and_how_to_begin(
    cli: CommandLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "120")
    text = cli.run(["--help"]).out
    places = [text.index(f"─ {panel} ─") for panel in GUIDE if panel != "Data"]
    assert places == sorted(places)
    assert "─ Data ─" in text
    assert "--install-completion" in text
    assert EPILOG.splitlines()[0] in text
    assert "Example: scrfd-nas logs 7 --follow" in cli.run(["logs", "--help"]).out


def test_a_shell_completes_commands_and_flags_without_heavy_packages() -> None:
    script = (
        "import sys\nfrom nas.cli.main import run\n"
        "try:\n    run([])\nfinally:\n"
        "    assert not {'torch', 'ray', 'optuna'} & set(sys.modules)\n"
    )
    for typed, expected in (("stag", "stage1"), ("stage1 --dry", "--dry-run")):
        asked = {
            "_SCRFD_NAS_COMPLETE": "complete_bash",
            "COMP_WORDS": f"scrfd-nas {typed}",
            "COMP_CWORD": str(len(typed.split())),
        }
        done = subprocess.run(
            [sys.executable, "-c", script], env=os.environ | asked, capture_output=True, text=True,
            check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        assert expected in done.stdout.split()


def test_a_shell_that_is_not_known_is_one_line(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    import shellingham

    def nothing_found() -> None:
        raise shellingham.ShellDetectionFailure

    monkeypatch.setattr(shellingham, "detect_shell", nothing_found)
    assert run(["--show-completion"]) != 0
    assert "Traceback" not in capsys.readouterr().err
