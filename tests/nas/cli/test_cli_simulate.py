import csv
import json
from pathlib import Path
from typing import Any

import pytest
from command_line import CommandLine, stage1
from fake_trials import make_architecture

from nas.search.directory import SearchDir
from nas.search.request import Stage1Request
from reports.curves import read_curves
from search_spaces.architecture import save_architecture
from trials.recipe import Recipe

HEADER = "epoch,loss,images_per_second,easy,medium,hard\n"
QUICK = ("--strategy", "random", "--repeats", "5")


def make_search(root: Path, epochs: int = 9, candidates: int = 4, rising: bool = True) -> Path:
    """Return a search whose candidate N has hard AP N/10 after every epoch."""
    directory = SearchDir(root)
    recipe = Recipe.named("quick").to_dict()
    shared: dict[str, Any] = {"flops": 10**9, "data": "x", "data_fingerprint": "x"}
    directory.write_request(Stage1Request(**shared, recipe=recipe, epochs=epochs, image_size=64))
    for number in range(1, candidates + 1):
        save_architecture(make_architecture(number), directory.architecture_file(1, number))
        hard = 0.1 * number if rising else 0.5 - 0.1 * number
        write_metrics(directory.trial_folder(1, number), epochs, hard)
    return root


def write_metrics(folder: Path, epochs: int, hard: float) -> None:
    lines = [f"{epoch},1.5,10,0.9,0.9,{hard:.6f}\n" for epoch in range(1, epochs + 1)]
    (folder / "metrics.csv").write_text(HEADER + "".join(lines))


def run_json(cli: CommandLine, *arguments: object) -> Any:
    return cli.json(["simulate", *arguments])


def test_a_search_is_replayed(tmp_path: Path, cli: CommandLine) -> None:
    found = run_json(cli, "--search-dir", make_search(tmp_path / "s"), *QUICK)
    assert found["candidates"] == 4
    assert (found["epochs_each"], found["epochs_of_all"]) == (9, 36)
    assert found["best"] == {"candidate": 4, "hard": 0.4}
    assert [choice["scheduler"] for choice in found["choices"]] == ["fifo", "asha"]
    fifo = found["choices"][0]
    assert fifo["hard_at_end"] == {"lower": 0.4, "median": 0.4, "upper": 0.4}
    assert fifo["epochs_at_end"]["median"] == 36
    assert fifo["hard_at"][0] == {"share": 0.125, "lower": None, "median": None, "upper": None}


@pytest.mark.usefixtures("without_training")
def test_what_a_stage_records_by_default_is_replayed(data: Path, cli: CommandLine) -> None:
    # One training and one validation image: 3 % of 40 epochs are 3.6 evaluations, multiples of 12.
    cli.run(stage1(data, "--epochs", 40))
    found = run_json(cli, *QUICK)
    assert found["rungs"] == [
        "asha: rungs after epochs 12, 36, as with --grace-epochs 12: not every candidate was "
        "evaluated after 4"
    ]
    assert [choice["scheduler"] for choice in found["choices"]] == ["fifo", "asha"]


def test_an_exported_file_replaces_the_search(tmp_path: Path, cli: CommandLine) -> None:
    search, file = make_search(tmp_path / "s"), tmp_path / "curves.csv"
    printed = cli.run(["simulate", "--search-dir", str(search), "--export", str(file)]).err
    assert "4 curves written" in printed
    assert [curve.architecture for curve in read_curves(file)] == [
        make_architecture(number) for number in range(1, 5)
    ]
    names = ("--strategy", "random,tpe,evolution", "--repeats", "3")
    before = run_json(cli, "--search-dir", search, *names)
    for path in search.rglob("*"):
        path.unlink() if path.is_file() else None
    after = run_json(cli, "--curves", file, *names)
    assert {**before, "source": ""} == {**after, "source": ""}


def test_the_table_is_printed_and_written(tmp_path: Path, cli: CommandLine) -> None:
    search, out = make_search(tmp_path / "s"), tmp_path / "table.csv"
    printed = cli.run(["simulate", "--search-dir", str(search), *QUICK, "--out", str(out)]).out
    assert "4 candidates x 9 epochs = 36" in printed
    assert "within 0.005 of the best of all, 0.4000 (candidate 4)" in printed
    with out.open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 2 * 7
    end = next(row for row in rows if row["measure"] == "epochs_at_end")
    assert end == {
        "strategy": "random",
        "scheduler": "fifo",
        "repeats": "5",
        "measure": "epochs_at_end",
        "median": "36.0",
        "lower": "36.0",
        "upper": "36.0",
    }


def test_candidates_without_their_last_epoch_are_left_out_and_named(
    tmp_path: Path, cli: CommandLine
) -> None:
    search = make_search(tmp_path / "s")
    write_metrics(search / "stage1" / "0003", epochs=5, hard=0.3)
    (search / "stage1" / "0004" / "metrics.csv").unlink()
    printed = cli.run(["simulate", "--search-dir", str(search), *QUICK, "--json"])
    assert "candidates without their last epoch left out: 3, 4" in printed.err
    assert json.loads(printed.out)["candidates"] == 2


def test_short_schedules_add_complete_rungs(tmp_path: Path, cli: CommandLine) -> None:
    search = make_search(tmp_path / "s")
    short = [make_search(tmp_path / str(n), epochs=n, rising=False) for n in (1, 3)]
    flags = [part for path in short for part in ("--short", path)]
    found = run_json(cli, "--search-dir", search, *QUICK, "--scheduler", "asha", *flags)
    complete = found["choices"][-1]
    assert complete["scheduler"] == "asha, complete rungs"
    # The short schedules rank the other way round: 4 x 1, 2 x 2 epochs, and 1 goes to the end.
    assert complete["epochs_at_end"]["median"] == 4 + 2 * 2 + 6
    assert complete["hard_at_end"]["median"] == 0.1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--scheduler", "bohb"), "scheduler must be one of"),
        (("--strategy", "bayes"), "strategy must be one of"),
        (("--stage", "2"), "stage 2 has not begun"),
        (("--grace-epochs", "40"), "grace_epochs must be an integer from 1 to 9"),
        (("--scheduler", "hyperband"), "hyperband' was removed"),
        (("--curves", "nowhere.csv"), "nowhere.csv: cannot be read"),
        (("--short", "nowhere"), "nowhere: cannot be read"),
    ],
)
def test_errors_are_one_line(
    tmp_path: Path, cli: CommandLine, arguments: tuple[str, ...], message: str
) -> None:
    search = make_search(tmp_path / "s")
    assert message in cli.fail(["simulate", "--search-dir", search, *arguments])


def test_damaged_metrics_are_refused_with_file_and_line(tmp_path: Path, cli: CommandLine) -> None:
    search = make_search(tmp_path / "s")
    path = search / "stage1" / "0002" / "metrics.csv"
    path.write_text(path.read_text().replace("0.200000", "0.2x", 1))
    printed = cli.run(["simulate", "--search-dir", str(search)], 1).err
    assert "metrics.csv: line 2: hard must be a number, got '0.2x'" in printed
