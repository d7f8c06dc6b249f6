"""What the guides in docs/ show exists: commands, flags, files."""

import re
from pathlib import Path
from typing import Any

import pytest
import typer

from nas.cli.main import build_app

DOCS = Path(__file__).resolve().parents[2] / "docs"
GUIDES = sorted(path for path in DOCS.glob("*.md") if path.name != "LOG.md")
COMMAND = re.compile(r"scrfd-nas ((?:data )?[a-z][a-z0-9-]*)([^\n|`']*)")
SHOWN = sorted(
    {(path.name, *found) for path in GUIDES for found in COMMAND.findall(path.read_text("utf-8"))}
)
LINKS = [
    (path, link)
    for path in GUIDES
    for link in re.findall(r"\]\(([^)#]+)\)", path.read_text(encoding="utf-8"))
    if "://" not in link
]


@pytest.mark.parametrize(("guide", "words", "rest"), SHOWN)
def test_every_command_shown_exists_with_its_flags(guide: str, words: str, rest: str) -> None:
    command: Any = typer.main.get_command(build_app())
    for word in words.split():
        assert word in command.commands, f"{guide} shows {words}"
        command = command.commands[word]
    known = {flag for item in command.params for flag in item.opts}
    shown = re.findall(r"(?<!\S)--[a-z0-9-]+", rest.partition("#")[0])
    assert set(shown) <= known, guide


@pytest.mark.parametrize(("guide", "link"), LINKS)
def test_every_link_into_the_project_leads_somewhere(guide: Path, link: str) -> None:
    assert (guide.parent / link).exists()


def test_there_are_guides_with_commands() -> None:
    assert {"CLUSTER.md", "FROM_SCRFD.md"} <= {path.name for path in GUIDES}
    assert len(SHOWN) >= 20


def test_the_python_guide_runs_as_it_stands(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    blocks = re.findall(r"```python\n(.*?)```", (DOCS / "PYTHON.md").read_text("utf-8"), re.DOTALL)
    assert len(blocks) >= 7
    monkeypatch.chdir(tmp_path)
    namespace: dict[str, Any] = {}
    for number, block in enumerate(blocks, start=1):
        exec(compile(block, f"docs/PYTHON.md block {number}", "exec"), namespace)
    assert namespace["result"].epochs == 1
