"""Commands, flags, files and sections named in README.md and the guides in docs/ exist."""

import re
import runpy
from pathlib import Path
from typing import Any

import pytest

from nas.cli.main import build_app
from nas.monitoring.counts import StageCounts

ROOT = Path(__file__).resolve().parents[2]
GUIDES = {path: path.read_text("utf-8") for path in sorted((ROOT / "docs").glob("*.md"))}
GUIDES = {path: text for path, text in GUIDES.items() if path.name != "LOG.md"}
README = (ROOT / "README.md").read_text("utf-8")
COMMAND = re.compile(r"scrfd-nas ((?:data )?[a-z][a-z0-9-]*)([^\n|`']*)")
SHOWN = sorted({found for text in (README, *GUIDES.values()) for found in COMMAND.findall(text)})
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").glob("*.md")]
LINKS = [
    (path, link)
    for path in PAGES
    for link in re.findall(r"\]\(([^)]+)\)", path.read_text("utf-8"))
    if "://" not in link
]
OTHER_FLAGS = {"--help", "--tmux", "--time"}  # of every command, of Ray's launcher, of Slurm


@pytest.mark.parametrize(("words", "rest"), SHOWN)
def test_every_command_shown_exists_with_its_flags(words: str, rest: str) -> None:
    command: Any = build_app()
    for word in words.split():
        command = command.commands[word]
    known = {flag for item in command.params for flag in item.opts}
    assert set(re.findall(r"(?<!\S)--[a-z0-9-]+", rest.partition("#")[0])) <= known


def sections(text: str) -> list[str]:
    """Anchors of the headings of a page, in their order."""
    headings = re.findall(r"(?m)^##+ (.*)", re.sub(r"(?s)```.*?```", "", text))
    return [re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings]


def test_every_flag_in_running_text_belongs_to_a_command() -> None:
    groups: Any = [build_app(), build_app().commands["data"]]
    commands = [group.commands[name] for group in groups for name in group.commands]
    known = {flag for command in commands for item in command.params for flag in item.opts}
    shown = {flag for text in GUIDES.values() for flag in re.findall(r"`(--[a-z0-9-]+)", text)}
    assert len(shown) >= 20
    assert shown <= known | OTHER_FLAGS


@pytest.mark.parametrize(("page", "link"), LINKS)
def test_every_link_leads_to_a_file_and_a_section_of_the_project(page: Path, link: str) -> None:
    name, _, section = link.partition("#")
    target = page.parent / name if name else page
    assert target.exists()
    assert not section or section in sections(target.read_text("utf-8"))


def test_tables_of_contents_list_every_section_in_order() -> None:
    contents = {path: re.findall(r"(?m)^- \[.*\]\(#(.*)\)$", GUIDES[path]) for path in GUIDES}
    contents = {path: found for path, found in contents.items() if found}
    assert len(contents) >= 4
    assert contents == {path: sections(GUIDES[path]) for path in contents}


def test_the_pictures_of_the_readme_are_small() -> None:
    pictures = re.findall(r"!\[.*\]\((.*)\)", README)
    assert len(pictures) == 2
    assert all((ROOT / picture).stat().st_size < 150_000 for picture in pictures)


def test_the_picture_of_the_terminal_has_the_last_lines_and_names_no_other_server() -> None:
    script: Any = runpy.run_path(str(ROOT / "docs/make_pictures.py"))
    counts = StageCounts(stage=2, epochs=5, done=dict.fromkeys((1, 2, 3), 0), outcomes={})
    lines = [f"line{number:02d}" for number in range(1, script["LINES"] + 2)]
    svg = script["terminal_picture"](lines, counts.status(pace=None, active=True, now=0.0))
    assert re.findall(r"line\d\d(?=<)", svg) == lines[1:]
    assert "0/3" in svg
    assert "@font-face" not in svg


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
