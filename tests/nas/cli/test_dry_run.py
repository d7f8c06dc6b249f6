"""`--dry-run` prints a whole request, which as `--config` is the same request again."""

import json
from pathlib import Path
from typing import Any

import pytest
from command_line import CommandLine, stage1

from nas.search.directory import SearchDir, package_versions
from nas.search.request import option_names
from search_spaces.yaml_files import parse_yaml

pytestmark = pytest.mark.usefixtures("without_training")


def printed(command: list[str], cli: CommandLine) -> str:
    output = cli.run([*command, "--dry-run"])
    assert output.err == ""
    return output.out


def section(text: str, stage: int = 1) -> dict[str, Any]:
    content = parse_yaml(text, "the output")
    assert list(content) == ["format", f"stage{stage}"]
    return dict(content[f"stage{stage}"])


def test_the_whole_request_is_printed_and_nothing_is_done(
    data: Path, tmp_path: Path, cli: CommandLine
) -> None:
    before = sorted(tmp_path.rglob("*"))
    shown = section(printed(stage1(data, "--strategy", "tpe", "--batch", "4"), cli))
    assert sorted(tmp_path.rglob("*")) == before
    assert list(shown["request"]) == option_names(1)
    request = shown["request"]
    assert (request["flops"], request["strategy"], request["tolerance"]) == (5 * 10**8, "tpe", 0.02)
    assert request["recipe"]["batch_size"] == 4
    assert len(request["data_fingerprint"]) == 16
    assert shown["run"]["search_dir"] == str(tmp_path / "runs/scrfdgen0.5g")
    assert shown["run"]["ray_address"] is None
    assert shown["versions"] == package_versions()


def test_its_output_is_a_config_that_means_the_same(data: Path, cli: CommandLine) -> None:
    flags = ("--seed", "7", "--scheduler", "asha", "--recipe", "quick", "--precision", "fp32")
    more = ("--tolerance", "0.05", "--retry-failed", "--on-event", "true", "--cpus-per-trial", "1")
    text = printed(stage1(data, *flags, *more), cli)
    Path("file.yaml").write_text(text)
    assert printed(["stage1", "--config", "file.yaml"], cli) == text
    changed = printed(["stage1", "--config", "file.yaml", "--seed", "8"], cli)
    assert changed == text.replace("seed: 7", "seed: 8")


def test_a_search_run_from_it_has_that_request(data: Path, cli: CommandLine) -> None:
    text = printed(stage1(data, "--seed", "3", "--search-dir", "there"), cli)
    Path("file.yaml").write_text(text)
    cli.run(["stage1", "--config", "file.yaml"])
    request = SearchDir(Path("there")).requests()[1].to_dict()
    wanted = section(text)["request"]
    for name in ("cpus_per_trial", "gpus_per_trial"):  # chosen by the machine
        assert wanted.pop(name) is None
        assert request.pop(name) is not None
    assert request == wanted


@pytest.mark.parametrize(("command", "stage"), [("stage2", 2), ("stage-sr", 3)])
def test_the_other_stages_print_theirs(
    data: Path, command: str, stage: int, cli: CommandLine
) -> None:
    cli.run(stage1(data))
    there = ["--search-dir", "runs/scrfdgen0.5g"]
    text = printed([command, *there, "--num-candidates", "5"], cli)
    shown = section(text, stage)
    assert list(shown["request"]) == option_names(stage)
    assert shown["request"]["epochs"] == 2
    Path("file.yaml").write_text(text)
    assert printed([command, "--config", "file.yaml"], cli) == text
    assert not SearchDir(Path("runs/scrfdgen0.5g")).stage_folder(stage).exists()


def test_it_has_json_and_the_errors_of_a_real_run(data: Path, cli: CommandLine) -> None:
    as_json = json.loads(printed([*stage1(data), "--json"], cli))
    assert as_json["stage1"] == section(printed(stage1(data), cli))
    assert "strategy must be one of" in cli.fail(stage1(data, "--strategy", "luck", "--dry-run"))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("retry_failed: 1", "retry_failed must be true or false, got 1"),
        ("on_event: [a]", "on_event must be text, got ['a']"),
        ("search_dir: 3", "search_dir must be a path, got 3"),
        ("stage1: {request: {}, run: [1]}", "must be a mapping of options, got list"),
        ("format: 2\nstage1: {}", "file.yaml: has format 2, and this version reads format 1"),
    ],
)
def test_a_wrong_run_option_of_a_file_is_named(
    data: Path, text: str, message: str, cli: CommandLine
) -> None:
    Path("file.yaml").write_text(text + "\n")
    assert message in cli.run(stage1(data, "--config", "file.yaml"), 1).err


def test_flops_of_a_file_that_are_no_integer_are_named(data: Path, cli: CommandLine) -> None:
    Path("file.yaml").write_text("flops: 5e8\n")
    printed = cli.run(["stage1", "--data", data, "--config", "file.yaml"], 1).err
    assert "flops must be an integer of at least 1, got 500000000.0" in printed
