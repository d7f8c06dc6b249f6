import csv
import json
from pathlib import Path
from typing import Any

import fake_trials
import pytest
from fake_trials import FakeCluster, hard_ap, make_architecture, make_data

from nas.cli.main import run
from nas.search.directory import SearchDir

pytestmark = pytest.mark.usefixtures("without_training")


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return make_data(tmp_path / "data")


def stage1(data: Path, *more: str, num: int = 3) -> list[str]:
    command = ["stage1", "--flops", "0.5G", "--data", str(data), "--num-candidates", str(num)]
    return [*command, "--epochs", "2", "--image-size", "64", *more]


def read_json(capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    content = json.loads(capsys.readouterr().out)
    assert isinstance(content, dict)
    return content


def test_stage_1_prints_the_leaderboard_and_where_it_lies(
    data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(stage1(data)) == 0
    output = capsys.readouterr()
    best = max(range(1, 4), key=lambda number: hard_ap(make_architecture(number)))
    assert f"{hard_ap(make_architecture(best)):.4f}" in output.out
    assert "runs/scrfdgen0.5g/stage1/leaderboard.csv" in output.out
    assert "3/3 finished" in output.err


def test_json_is_one_document_with_raw_numbers(
    data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(stage1(data, "--json")) == 0
    content = read_json(capsys)
    assert set(content) == {"search_dir", "stage1"}
    rows = content["stage1"]
    assert [row["rank"] for row in rows] == [1, 2, 3]
    for row in rows:
        assert row["hard"] == hard_ap(make_architecture(row["candidate"]))
        assert type(row["flops"]) is int
        assert type(row["params"]) is int


def test_stage_2_and_report_show_both_stages(
    data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(stage1(data)) == 0
    assert run(["stage2", "--template", "best", "--num-candidates", "2", "--json"]) == 0
    capsys.readouterr()
    directory = SearchDir(Path("runs/scrfdgen0.5g"))
    for stage in (1, 2):
        directory.leaderboard_file(stage).unlink()
    assert run(["report", "--json"]) == 0
    content = read_json(capsys)
    assert (len(content["stage1"]), len(content["stage2"])) == (3, 2)
    for stage in (1, 2):
        with directory.leaderboard_file(stage).open() as file:
            numbers = [int(row["candidate"]) for row in csv.DictReader(file)]
        assert numbers == [row["candidate"] for row in content[f"stage{stage}"]]
    assert run(["report", "--stage", "2", "--json"]) == 0
    assert "stage1" not in read_json(capsys)


def test_status_is_a_text_or_json(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(stage1(data)) == 0
    assert run(["report", "--stage", "2"]) == 1
    assert "stage 2 has not begun" in capsys.readouterr().err
    assert run(["status"]) == 0
    text = capsys.readouterr().out
    assert "not running" in text
    assert "stage 1: 3/3 finished" in text
    assert run(["status", "--search-dir", "runs/scrfdgen0.5g", "--json"]) == 0
    content = read_json(capsys)
    assert content["driver"] is None
    assert content["stage1"]["finished"] == 3


def test_a_failed_candidate_is_shown_with_its_reason(
    data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fake_trials.set_faults(data, **{"raise": {"2": 1}})
    assert run(stage1(data, "--retries", "0")) == 0
    output = capsys.readouterr()
    assert "failed: ValueError: epoch 1 is not to be" in output.out
    assert "candidate 2 failed: ValueError" in output.err
    fake_trials.set_faults(data)
    assert run(["stage1", "--retry-failed", "--json"]) == 0
    assert {row["state"] for row in read_json(capsys)["stage1"]} == {"finished"}


def test_a_search_without_any_result_is_an_error(
    data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fake_trials.set_faults(data, **{"raise": {"1": 1, "2": 1}})
    assert run(stage1(data, num=2)) == 1
    output = capsys.readouterr()
    assert "no candidate of stage 1 finished; the first failed: ValueError" in output.err
    assert "failed" in output.out


def test_an_interrupted_search_says_how_to_continue(
    data: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(*arguments: Any, **more: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(FakeCluster, "run", interrupt)
    assert run(stage1(data)) == 130
    assert "the same command continues the search" in capsys.readouterr().err


def test_options_come_from_a_file_and_flags_override_them(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = tmp_path / "search.yaml"
    config.write_text(
        f"flops: 1.5G\ndata: {data}\nnum_candidates: 5\nepochs: 2\nimage_size: 64\n"
        "recipe: quick\nbatch_size: 4\nranges: {depth: [1, 6]}\n"
    )
    assert run(["stage1", "--config", str(config), "--num-candidates", "2"]) == 0
    capsys.readouterr()
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
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str, message: str
) -> None:
    config = tmp_path / "search.yaml"
    config.write_text(text + "\n")
    assert run(["stage1", "--search-dir", "s", "--data", str(data), "--config", str(config)]) == 1
    assert message in capsys.readouterr().err


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
    data: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], message: str
) -> None:
    assert run(arguments) == 1
    output = capsys.readouterr()
    assert output.out == ""
    assert message in output.err
    assert not Path("new").exists()


def test_wrong_usage_exits_with_2(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["stage1", "--num-candidates", "0"]) == 2
    assert run(["stage1", "--flopz", "1G"]) == 2


def test_a_finished_leaderboard_fits_80_columns(
    data: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    assert run(stage1(data)) == 0
    table = capsys.readouterr().out
    assert "…" not in table
    assert 60 < max(map(len, table.splitlines())) <= 80
    assert "Stage 1: 3 of 3 finished, epochs: 2" in table


def test_square_brackets_of_a_reason_are_shown(
    data: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*arguments: Any, **more: Any) -> None:
        raise OSError(5, "no [red] disk")

    assert run(stage1(data, num=2)) == 0
    monkeypatch.setattr(fake_trials, "run", fail)
    assert run(stage1(data, num=3)) == 0
    assert "failed: OSError: [Errno 5] no [red] disk" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("command", "defaults"),
    [
        ("stage1", ["data/retinaface", "64", "80", "640", "0.02", "reference", "runs/scrfdgen"]),
        ("stage2", ["best", "free", "0.1", "64"]),
        ("demo", ["fits 6 minutes", "runs/demo"]),
    ],
)
def test_help_names_the_defaults(
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    command: str,
    defaults: list[str],
) -> None:
    monkeypatch.setenv("COLUMNS", "400")
    assert run([command, "--help"]) == 0
    text = " ".join(capsys.readouterr().out.split())
    for value in defaults:
        assert f"default: {value}" in text


def test_a_file_is_no_search_directory(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Path("taken").touch()
    assert run(stage1(data, "--search-dir", "taken")) == 1
    assert "taken: is not a folder; choose another --search-dir" in capsys.readouterr().err
