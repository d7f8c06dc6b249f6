"""Commands, flags and files in README.md and the guides in docs/ exist."""

import re
from pathlib import Path
from typing import Any

import pytest

from nas.cli.main import build_app

ROOT = Path(__file__).resolve().parents[2]
GUIDES = {path: path.read_text("utf-8") for path in sorted((ROOT / "docs").glob("*.md"))}
GUIDES = {path: text for path, text in GUIDES.items() if path.name != "LOG.md"}
README = (ROOT / "README.md").read_text("utf-8")
COMMAND = re.compile(r"scrfd-nas ((?:data )?[a-z][a-z0-9-]*)([^\n|`']*)")
SHOWN = sorted({found for text in (README, *GUIDES.values()) for found in COMMAND.findall(text)})
LINKS = [
    (path, link)
    for path, text in GUIDES.items()
    for link in re.findall(r"\]\(([^)#]+)\)", text)
    if "://" not in link
]


@pytest.mark.parametrize(("words", "rest"), SHOWN)
def test_every_command_shown_exists_with_its_flags(words: str, rest: str) -> None:
    command: Any = build_app()
    for word in words.split():
        command = command.commands[word]
    known = {flag for item in command.params for flag in item.opts}
    assert set(re.findall(r"(?<!\S)--[a-z0-9-]+", rest.partition("#")[0])) <= known


@pytest.mark.parametrize(("guide", "link"), LINKS)
def test_every_link_to_a_file_of_the_project_is_valid(guide: Path, link: str) -> None:
    assert (guide.parent / link).exists()


def test_commands_are_found_and_the_table_of_the_guide_lists_all() -> None:
    assert {"CLUSTER.md", "FROM_SCRFD.md"} <= {path.name for path in GUIDES}
    assert len(SHOWN) >= 20
    rows = re.findall(r"(?m)^\| `.*", GUIDES[ROOT / "docs/GUIDE.md"])
    listed = set(re.findall(r"`([a-z0-9-]+)`", "".join(rows)))
    assert set(build_app().commands) - {"data"} <= listed


def test_the_python_guide_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    blocks = re.findall(r"```python\n(.*?)```", GUIDES[ROOT / "docs/PYTHON.md"], re.DOTALL)
    assert len(blocks) >= 7
    monkeypatch.chdir(tmp_path)
    namespace: dict[str, Any] = {}
    for number, block in enumerate(blocks, start=1):
        exec(compile(block, f"docs/PYTHON.md block {number}", "exec"), namespace)
    assert namespace["result"].epochs == 1
