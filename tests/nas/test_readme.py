"""What the README shows exists."""

import re
from pathlib import Path
from typing import Any

import pytest
import typer

from nas.cli.main import build_app

README = Path(__file__).resolve().parents[2] / "README.md"
GUIDE = README.with_name("docs") / "GUIDE.md"
TEXT = README.read_text(encoding="utf-8")
SHOWN = sorted(set(re.findall(r"scrfd-nas ((?:data )?[a-z][a-z0-9-]*)(.*)", TEXT)))


def command_of(words: str) -> Any:
    command = typer.main.get_command(build_app())
    for word in words.split():
        command = command.commands[word]
    return command


@pytest.mark.parametrize("words", sorted({words for words, _ in SHOWN}))
def test_every_command_shown_exists(words: str) -> None:
    assert command_of(words).help


@pytest.mark.parametrize(("words", "rest"), SHOWN)
def test_every_flag_shown_exists(words: str, rest: str) -> None:
    known = {flag for item in command_of(words).params for flag in item.opts}
    shown = re.findall(r"(?<!\S)--[a-z0-9-]+", rest.partition("`")[0].partition("#")[0])
    assert set(shown) <= known


def test_the_table_of_the_guide_lists_every_command() -> None:
    listed = set(
        re.findall(r"`([a-z0-9-]+)`", "".join(re.findall(r"(?m)^\| `.*", GUIDE.read_text("utf-8"))))
    )
    assert set(typer.main.get_command(build_app()).commands) - {"data"} <= listed
