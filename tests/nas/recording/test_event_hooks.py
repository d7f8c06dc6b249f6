"""Command of --on-event, which can neither stop nor slow a search."""

import json
import sys
import time
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest
from fake_search import stage1_command
from fake_trials import FakeCluster, hard_ap, make_architecture, make_data, set_faults

from nas.cli.main import run
from nas.recording.background import Background
from nas.recording.event_hooks import call_command, split_command
from search_spaces.errors import ConfigError

PYTHON = sys.executable
APPEND = """
import json, os, sys
content = json.load(sys.stdin)
assert content["event"] == os.environ["SCRFD_EVENT"]
with open(sys.argv[1], "a") as file:
    file.write(json.dumps(content) + "\\n")
"""


pytestmark = pytest.mark.usefixtures("without_training")


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return make_data(tmp_path / "data")


@pytest.fixture
def command(tmp_path: Path) -> str:
    """A command with a space in its path that appends its input to `events.jsonl`."""
    script = tmp_path / "my hook.py"
    script.write_text(APPEND)
    return f"{PYTHON} -S '{script}' events.jsonl"


def stage1(data: Path, command: str, num: int = 3) -> int:
    return run(stage1_command(data, "--on-event", command, num=num))


def events() -> list[dict[str, Any]]:
    return [json.loads(line) for line in Path("events.jsonl").read_text().splitlines()]


def test_the_command_receives_every_trial_and_the_end(data: Path, command: str) -> None:
    set_faults(data, **{"raise": {"2": 1}})
    assert stage1(data, command) == 0
    received = [(item["event"], item.get("candidate")) for item in events()]
    first, third = hard_ap(make_architecture(1)), hard_ap(make_architecture(3))
    better = [("best", 3)] if third > first else []
    assert received == [
        ("started", 1), ("finished", 1), ("best", 1),
        ("started", 2), ("retried", 2), ("started", 2), ("failed", 2),
        ("started", 3), ("finished", 3), *better, ("ended", None),
    ]  # fmt: skip
    by_event = {item["event"]: item for item in events()}
    assert by_event["failed"]["reason"] == "ValueError: epoch 1 is not to be"
    assert by_event["best"]["hard"] == max(first, third)
    end = by_event["ended"]
    assert (end["state"], end["stage"]) == ("done", 1)
    assert end["search_dir"] == str(Path("runs/scrfdgen0.5g").resolve())
    assert (end["status"]["finished"], end["status"]["failed"]) == (2, 1)


def test_a_resumed_search_does_not_announce_the_old_best(data: Path, command: str) -> None:
    assert stage1(data, command, num=3) == 0
    Path("events.jsonl").unlink()
    assert stage1(data, command, num=4) == 0
    *old, new = [hard_ap(make_architecture(number)) for number in range(1, 5)]
    is_better = new > max(old)
    assert ("best" in {item["event"] for item in events()}) == is_better


def test_an_interrupted_run_ends_as_interrupted(
    data: Path, command: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(FakeCluster, "run", Mock(side_effect=KeyboardInterrupt))
    assert stage1(data, command) == 130
    assert [(item["event"], item["state"]) for item in events()] == [("ended", "interrupted")]


def test_a_failing_command_is_logged_once_and_the_search_continues(
    data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert stage1(data, f"{PYTHON} -S -c 'import sys; sys.exit(\"no mail today\")'") == 0
    errors = capsys.readouterr().err
    assert errors.count("--on-event: exit code 1: no mail today") == 1
    assert errors.count("--on-event") == 1


@pytest.mark.parametrize("command", ["no-such-program --x", "'unclosed", "", "/"])
def test_a_command_that_cannot_be_run_is_refused_at_once(
    data: Path, command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert stage1(data, command) == 1
    assert "--on-event must be" in capsys.readouterr().err
    assert not Path("runs").exists()


def test_the_command_runs_without_a_shell() -> None:
    assert split_command("echo 'a b' $HOME; ls") == ["echo", "a b", "$HOME;", "ls"]
    with pytest.raises(ConfigError):
        split_command("$HOME")


def test_a_slow_command_is_ended_and_delays_nothing() -> None:
    lines: list[str] = []
    command = [PYTHON, "-S", "-c", "import time; time.sleep(60)"]
    calls = Background("--on-event", lines.append)
    begun = time.monotonic()
    for _ in range(3):
        calls.submit(lambda: call_command(command, {"event": "started"}, limit_s=0.2))
    assert time.monotonic() - begun < 0.15
    calls.close(20)
    assert lines == [
        "--on-event: it took longer than 0.2 s and was ended (further failures are not shown)"
    ]
    assert time.monotonic() - begun < 10
