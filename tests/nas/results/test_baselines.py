"""Published networks that were trained as the candidates were."""

from pathlib import Path
from typing import Any

import pytest
from tiny import make_result

from nas.results.baselines import baseline_command, read_baselines
from nas.search.directory import SearchDir
from nas.search.request import Stage1Request
from search_spaces.files import write_json
from trials.recipe import Recipe
from trials.result import save_outcome

REQUEST = {
    "architecture": {"neck": 1},
    "recipe": {"flip": 0.5},
    "settings": {"seed": 0},
    "data": "a",
}


def make_trial(folder: Path, hard: float | None = 0.5, **changes: Any) -> None:
    write_json(folder / "request.json", {**REQUEST, **changes})
    if hard is not None:
        save_outcome(make_result(hard), folder)


def test_only_trials_that_differ_in_the_network_alone_count(tmp_path: Path) -> None:
    directory, baselines = SearchDir(tmp_path), tmp_path / "baselines"
    make_trial(baselines / "scrfd_1g", 0.4, architecture={"neck": 2})
    assert read_baselines(directory) == {}  # there is no candidate yet
    make_trial(directory.trial_folder(1, 1))
    make_trial(baselines / "longer", settings={"seed": 0, "epochs": 9})
    make_trial(baselines / "recipe", recipe={"flip": 0.0})
    make_trial(baselines / "data", data="b")
    make_trial(baselines / "unfinished", None)
    make_trial(baselines / "damaged")
    (baselines / "damaged" / "request.json").write_text("{")
    assert read_baselines(directory) == {"scrfd_1g": 0.4}


def request(recipe: Recipe, **more: Any) -> Stage1Request:
    given = {"flops": 10**9, "data": "/a b", "data_fingerprint": "0", "recipe": recipe.to_dict()}
    return Stage1Request(**given, **more)


@pytest.mark.parametrize("name", ["reference", "quick"])
def test_the_command_trains_the_nearest_published_network(name: str) -> None:
    asked = request(Recipe.named(name), epochs=7, seed=3)
    command = baseline_command(SearchDir(Path("runs/x")), asked)
    assert command.startswith(f"scrfd-nas trial scrfd_1g --data '/a b' --recipe {name} ")
    assert " --epochs 7 " in command
    assert command.endswith("--select-on val --seed 3 --out runs/x/baselines/scrfd_1g")


def test_another_recipe_has_no_command() -> None:
    assert baseline_command(SearchDir(Path("runs/x")), request(Recipe(flip=0.25))) == ""
