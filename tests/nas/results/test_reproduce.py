"""Repeated training of a candidate, and the comparison with the first one."""

import json
import shutil
import signal
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from fake_trials import make_request
from tiny import TINY

from nas.cli.main import run as run_cli
from nas.results.reproduce import (
    DIFFERENT,
    IDENTICAL,
    WITHIN,
    Record,
    compare,
    read_record,
    reproduce,
)
from nas.search.directory import SearchDir
from search_spaces.errors import ConfigError, IncomparableError
from trials.data.generated.generate import generate
from trials.fingerprint import data_fingerprint
from trials.recipe import Recipe
from trials.result import TrialInterrupted, load_result, save_outcome
from trials.run import run_trial
from trials.settings import TrialSettings
from trials.trial import Callbacks

RECIPE = Recipe(batch_size=2)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("set") / "faces"
    generate(root, num_train=6, num_val=2, seed=0, long_side=(96, 128))
    return root


@pytest.fixture(scope="module")
def trained(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A search directory with one candidate, trained with one thread for two epochs."""
    root = tmp_path_factory.mktemp("search")
    where = {"data": str(data), "data_fingerprint": data_fingerprint(data)}
    sizes = {"epochs": 2, "image_size": 64, "cpus_per_trial": 1.0}
    request = make_request(**where, **sizes, recipe=RECIPE.to_dict())
    SearchDir(root).write_request(request)
    settings = TrialSettings(epochs=2, image_size=64, device="cpu", threads=1, eval_every=1)
    run_trial(TINY, RECIPE, data, SearchDir(root).trial_folder(1, 7), settings=settings)
    return root


@pytest.fixture
def folder(trained: Path, tmp_path: Path) -> Path:
    """A copy of the trained candidate in its search, to be changed."""
    return shutil.copytree(trained, tmp_path / "search") / "stage1" / "0007"


@pytest.fixture
def record(folder: Path) -> Record:
    return read_record(folder)


def test_everything_needed_is_read_from_the_folder_and_its_search(
    record: Record, data: Path
) -> None:
    assert replace(record.architecture, name="tiny") == TINY
    assert record.recipe == RECIPE
    assert (record.settings.epochs, record.settings.image_size) == (2, 64)
    assert [record.settings.is_evaluated(epoch) for epoch in (1, 2)] == [True, True]
    assert (record.data, record.settings.threads) == (data, 1)
    assert record.versions["torch"]


def test_the_repetition_is_identical_to_the_bit_and_with_another_seed_it_is_not(
    record: Record, folder: Path, data: Path
) -> None:
    on_cpu = replace(record.settings, device="cpu")
    found = reproduce(replace(record, settings=on_cpu), data, folder / "reproduced")
    assert found.verdict == IDENTICAL
    assert found.before.aps == found.after.aps
    assert found.same_weights
    assert (found.loss_difference, found.hard_difference) == (0.0, 0.0)
    assert (found.request_changes, found.versions) == ((), {})
    assert SearchDir(folder.parents[1]).numbers(1) == []  # no candidate file: nothing else was made
    assert json.loads(json.dumps(found.to_dict()))["verdict"] == IDENTICAL
    other = folder / "other"
    result = run_trial(TINY, RECIPE, data, other, settings=replace(on_cpu, seed=1))
    found = compare(record, other, result)
    assert not found.same_weights
    assert found.loss_difference > 0


@pytest.mark.parametrize(
    ("hard", "noise", "verdict"),
    [(0.10, 0.03, WITHIN), (0.13, 0.03, WITHIN), (0.14, 0.03, DIFFERENT), (0.14, 0.05, WITHIN)],
)
def test_the_verdict_follows_from_the_hard_ap(
    record: Record, tmp_path: Path, hard: float, noise: float, verdict: str
) -> None:
    first = replace(record, result=replace(record.result, hard=0.1, best_hard=0.1))
    again = shutil.copytree(record.folder, tmp_path / "again")
    (again / "best.pt").unlink()
    after = replace(first.result, hard=hard, best_hard=hard)
    assert compare(first, again, after, noise=noise).verdict == verdict


def test_the_largest_differences_of_all_epochs_and_other_versions_are_named(
    record: Record, tmp_path: Path
) -> None:
    again = shutil.copytree(record.folder, tmp_path / "again")
    (again / "metrics.csv").write_text("epoch,loss,hard\n1,1.5,0.25\n2,3.5,0.5\n")
    curve = replace(record.curve, loss={1: 2.0, 2: 3.25}, hard={1: 0.125, 2: 0.5})
    versions = {**record.versions, "torch": "1.0"}
    found = compare(replace(record, curve=curve, versions=versions), again, record.result)
    assert (found.loss_difference, found.hard_difference) == (0.5, 0.125)
    assert list(found.versions) == ["torch"]
    assert found.versions["torch"][0] == "1.0"


def test_what_cannot_be_repeated_is_refused_before_anything_is_written(
    record: Record, data: Path, tmp_path: Path
) -> None:
    copy = shutil.copytree(data, tmp_path / "copy")
    with (copy / "train" / "labelv2.txt").open("a") as file:
        file.write("\n")
    parallel = replace(record, settings=replace(record.settings, workers=2))
    for asked, its_data, error, message in (
        (record, copy, IncomparableError, r"give its data with --data.*data: '"),
        (parallel, data, ConfigError, "only a training of one worker"),
    ):
        with pytest.raises(error, match=message):
            reproduce(asked, its_data, tmp_path / "again")
    assert not (tmp_path / "again").exists()
    with pytest.raises(ConfigError, match="is the trial's own folder"):
        reproduce(record, data, record.folder)


def test_data_may_have_moved(
    record: Record, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copy = shutil.copytree(data, tmp_path / "copy")
    asked: list[Any] = []

    def run(*arguments: Any, **options: Any) -> Any:
        asked.append((arguments[2], options["settings"].threads))
        return load_result(shutil.copytree(record.folder, arguments[3]))

    monkeypatch.setattr("nas.results.reproduce.run_trial", run)
    found = reproduce(record, copy, tmp_path / "again")
    assert asked == [(copy, 1)]
    assert found.verdict == IDENTICAL


@pytest.mark.parametrize("name", ["result.json", "request.json"])
def test_an_unfinished_trial_cannot_be_reproduced(folder: Path, name: str) -> None:
    (folder / name).unlink()
    with pytest.raises(ConfigError, match="must hold a finished trial"):
        read_record(folder)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "is not valid JSON"),
        ("[]", "must be a mapping"),
        ('{"architecture": {}}', "lacks the keys"),
    ],
)
def test_a_damaged_request_is_named(folder: Path, text: str, message: str) -> None:
    (folder / "request.json").write_text(text)
    with pytest.raises(ConfigError, match=rf"request\.json.*{message}"):
        read_record(folder)


def test_the_command_prints_the_verdict(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_cli(["reproduce", str(folder), "--device", "cpu"]) == 0
    output = capsys.readouterr().out
    assert "verdict: identical to the bit" in output
    assert str(folder / "reproduced") in output
    before = load_result(folder)
    assert before is not None
    save_outcome(replace(before, hard=before.hard + 0.5, best_hard=1.0), folder)
    assert run_cli(["reproduce", str(folder), "--device", "cpu", "--json"]) == 1
    output = capsys.readouterr()
    assert json.loads(output.out)["verdict"] == "different"
    assert "error: the hard APs differ by 0.5000, chance explains 0.03" in output.err
    alone = folder.rename(folder.parents[2] / "alone")
    assert run_cli(["reproduce", str(alone)]) == 1
    assert "--data is needed" in capsys.readouterr().err


def test_an_interrupted_reproduction_is_saved_and_continued(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def run(*_: Any, callbacks: Callbacks, **__: Any) -> None:
        assert callbacks.should_stop is not None
        assert not callbacks.should_stop()
        signal.raise_signal(signal.SIGINT)
        assert callbacks.should_stop()
        raise TrialInterrupted("stopped after 3 iterations")

    monkeypatch.setattr("nas.results.reproduce.run_trial", run)
    assert run_cli(["reproduce", str(folder), "--device", "cpu"]) == 130
    lines = capsys.readouterr().err.splitlines()
    assert lines == ["stopped after 3 iterations; the same command continues there", "interrupted"]


def test_data_that_have_moved_are_asked_for(
    folder: Path, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = folder.parents[1] / "search.yaml"
    file.write_text(file.read_text().replace(str(data), str(tmp_path / "moved")))
    assert run_cli(["reproduce", str(folder)]) == 1
    assert "moved: does not exist; the search had its data there" in capsys.readouterr().err
    assert not (folder / "reproduced").exists()


def test_a_trial_whose_weights_are_damaged_is_reproduced(
    record: Record, data: Path, tmp_path: Path
) -> None:
    (record.folder / "best.pt").write_bytes(b"damaged")
    found = reproduce(record, data, tmp_path / "again")
    assert (found.same_weights, found.hard_difference) == (False, 0.0)
    assert found.verdict == WITHIN
