import csv
from pathlib import Path
from typing import Any

import fake_trials
import pytest
from command_line import CommandLine, stage1
from fake_trials import FakeCluster, hard_ap, make_architecture

from nas.search.directory import SearchDir

pytestmark = pytest.mark.usefixtures("without_training")


def test_stage_1_prints_its_leaderboard_in_80_columns_and_the_path(
    data: Path, cli: CommandLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    table, notes = cli.run(stage1(data))
    best = max(hard_ap(make_architecture(number)) for number in range(1, 4))
    assert f"{best:.4f}" in table
    assert "…" not in table
    assert 60 < max(map(len, table.splitlines())) <= 80
    assert "Stage 1: 3 of 3 finished, epochs: 2" in table
    assert "runs/scrfdgen0.5g/stage1/leaderboard.csv" in table
    assert "stage 1: 0/3 finished, 3 waiting\n" in notes
    assert notes.count(": hard AP ") == 3


def test_json_is_one_document_with_raw_numbers(data: Path, cli: CommandLine) -> None:
    content = cli.json(stage1(data))
    assert set(content) == {"search_dir", "stage1"}
    rows = content["stage1"]
    assert [row["rank"] for row in rows] == [1, 2, 3]
    for row in rows:
        assert row["hard"] == hard_ap(make_architecture(row["candidate"]))
        assert type(row["flops"]) is int
        assert type(row["params"]) is int


def test_stage_2_and_report_show_both_stages(data: Path, cli: CommandLine) -> None:
    cli.run(stage1(data))
    cli.run(["stage2", "--template", "best", "--num-candidates", "2", "--json"])
    directory = SearchDir(Path("runs/scrfdgen0.5g"))
    for stage in (1, 2):
        directory.leaderboard_file(stage).unlink()
    content = cli.json(["report"])
    assert (len(content["stage1"]), len(content["stage2"])) == (3, 2)
    for stage in (1, 2):
        with directory.leaderboard_file(stage).open() as file:
            numbers = [int(row["candidate"]) for row in csv.DictReader(file)]
        assert numbers == [row["candidate"] for row in content[f"stage{stage}"]]
    assert "stage1" not in cli.json(["report", "--stage", "2"])


def test_status_is_a_text_or_json(data: Path, cli: CommandLine) -> None:
    cli.run(stage1(data))
    assert "stage 2 has not begun" in cli.run(["report", "--stage", "2"], 1).err
    text = cli.run(["status"]).out
    first, headline, counts = text.splitlines()
    assert first == "runs/scrfdgen0.5g: not running"
    assert headline.startswith("stage 1 done ")
    assert counts == "3/3 finished"
    content = cli.json(["status", "--search-dir", "runs/scrfdgen0.5g"])
    assert content["driver"] is None
    assert content["stage1"]["finished"] == 3


def test_status_of_an_interrupted_search_says_how_it_continues(
    data: Path, cli: CommandLine
) -> None:
    cli.run(stage1(data))
    SearchDir(Path("runs/scrfdgen0.5g")).result_file(1, 2).unlink()
    text = cli.run(["status"]).out
    assert "interrupted with 2 of 3 finished, 1 begun with 2 epochs; continue with" in text
    assert "  scrfd-nas resume --search-dir runs/scrfdgen0.5g\n" in text


def test_status_is_watched_until_it_is_interrupted(
    data: Path, cli: CommandLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    cli.run(stage1(data))
    looks = iter([None, None])

    def interrupt_later(seconds: float) -> None:
        if next(looks, seconds) is not None:
            raise KeyboardInterrupt

    monkeypatch.setattr("nas.cli.searches.status.time.sleep", interrupt_later)
    printed = cli.run(["status", "--watch"])
    assert printed.out == "runs/scrfdgen0.5g: not running\n"
    assert printed.err.startswith("stage 1: 3/3 finished, best hard AP")
    assert "no JSON" in cli.fail(["status", "--watch", "--json"], 2)


@pytest.mark.parametrize("command", ["status", "report"])
def test_a_damaged_record_is_named_with_the_remedy(
    data: Path, cli: CommandLine, command: str
) -> None:
    cli.run(stage1(data))
    directory = SearchDir(Path("runs/scrfdgen0.5g"))
    directory.result_file(1, 2).write_text('{"state": "fini')
    errors = cli.run([command]).err
    assert "0002/result.json" in errors
    assert "`scrfd-nas resume` continues candidate 2" in errors


def test_a_failed_candidate_is_shown_with_its_reason(data: Path, cli: CommandLine) -> None:
    fake_trials.set_faults(data, **{"raise": {"2": 1}})
    output = cli.run(stage1(data, "--retries", "0"))
    assert "failed: ValueError: epoch 1 is not to be" in output.out
    assert "candidate 2 failed: ValueError" in output.err
    fake_trials.set_faults(data)
    rows = cli.json(["stage1", "--retry-failed"])["stage1"]
    assert {row["state"] for row in rows} == {"finished"}


def test_a_search_without_any_result_is_an_error(data: Path, cli: CommandLine) -> None:
    fake_trials.set_faults(data, **{"raise": {"1": 1, "2": 1}})
    output = cli.run(stage1(data, num=2), 1)
    assert "no candidate of stage 1 finished; the first failed: ValueError" in output.err
    assert "failed" in output.out


def test_an_interrupted_search_says_how_to_continue(
    data: Path, cli: CommandLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(*arguments: Any, **more: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(FakeCluster, "run", interrupt)
    assert "the same command continues the search" in cli.run(stage1(data), 130).err


def test_options_come_from_a_file_and_flags_override_them(
    data: Path, tmp_path: Path, cli: CommandLine
) -> None:
    config = tmp_path / "search.yaml"
    config.write_text(
        f"flops: 1.5G\ndata: {data}\nnum_candidates: 5\nepochs: 2\nimage_size: 64\n"
        "recipe: quick\nbatch_size: 4\nranges: {depth: [1, 6]}\n"
    )
    cli.run(["stage1", "--config", str(config), "--num-candidates", "2"])
    request = SearchDir(Path("runs/scrfdgen1.5g")).requests()[1]
    assert (request.flops, request.num_candidates) == (1_500_000_000, 2)
    assert request.recipe["batch_size"] == 4
    assert request.recipe["schedule"] == "cosine"
    assert request.ranges == {"depth": [1, 6]}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("epocs: 3", "unknown keys ['epocs']"),
        ("- 1", "must be a mapping of options"),
        ("flops: lots", "FLOPs are a number such as 2.5G"),
        ("recipe: none", "a recipe must be"),
    ],
)
def test_a_wrong_config_is_named(
    data: Path, tmp_path: Path, cli: CommandLine, text: str, message: str
) -> None:
    config = tmp_path / "search.yaml"
    config.write_text(text + "\n")
    printed = cli.run(
        ["stage1", "--search-dir", "s", "--data", str(data), "--config", str(config)], 1
    ).err
    assert message in printed


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["stage1"], "start one with `scrfd-nas stage1 --flops"),
        (["stage1", "--flops", "1G"], "scrfd-nas data generate"),
        (["stage1", "--search-dir", "new", "--data", "data"], "--flops is needed"),
        (["stage2", "--search-dir", "new", "--template", "1"], "number of a stage-1 candidate"),
        (["stage2", "--search-dir", "new", "--template", "scrfd_x"], "scrfd_x"),
        (["status"], "there is no search in runs/: give --search-dir"),
        (["report", "--search-dir", "data"], "holds no search"),
    ],
)
def test_errors_say_what_to_do(
    data: Path, cli: CommandLine, arguments: list[str], message: str
) -> None:
    assert message in cli.fail(arguments)
    assert not Path("new").exists()


def test_wrong_usage_exits_with_2(cli: CommandLine) -> None:
    cli.run(["stage1", "--num-candidates", "0"], 2)
    cli.run(["stage1", "--flopz", "1G"], 2)


def test_square_brackets_of_a_reason_are_shown(
    data: Path, cli: CommandLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*arguments: Any, **more: Any) -> None:
        raise OSError(5, "no [red] disk")

    cli.run(stage1(data, num=2))
    monkeypatch.setattr(fake_trials, "run", fail)
    assert "failed: OSError: [Errno 5] no [red] disk" in cli.run(stage1(data, num=3)).out


@pytest.mark.parametrize(
    ("command", "defaults"),
    [
        ("stage1", ["data/retinaface", "64", "80", "640", "0.02", "reference", "runs/scrfdgen"]),
        ("stage2", ["best", "free", "0.1", "64"]),
        ("demo", ["5)", "runs/demo"]),
    ],
)
def test_help_names_the_defaults(
    cli: CommandLine, monkeypatch: pytest.MonkeyPatch, command: str, defaults: list[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "400")
    text = " ".join(cli.run([command, "--help"]).out.split())
    for value in defaults:
        assert f"default: {value}" in text


def test_a_file_is_no_search_directory(data: Path, cli: CommandLine) -> None:
    Path("taken").touch()
    printed = cli.run(stage1(data, "--search-dir", "taken"), 1).err
    assert "taken: is not a folder; choose another --search-dir" in printed
