"""Repeated training of a candidate, and the comparison with the first one."""

import json
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
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
from nas.search.request import Stage1Request
from search_spaces.errors import ConfigError, IncomparableError
from trials.data.generated.generate import generate
from trials.fingerprint import data_fingerprint
from trials.recipe import Recipe
from trials.result import load_result, save_outcome
from trials.run import run_trial
from trials.settings import TrialSettings

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
    request = Stage1Request(
        flops=10**7,
        data=str(data),
        data_fingerprint=data_fingerprint(data),
        recipe=RECIPE.to_dict(),
        epochs=2,
        image_size=64,
        cpus_per_trial=1.0,
    )
    SearchDir(root).write_request(request)
    settings = TrialSettings(epochs=2, image_size=64, device="cpu", threads=1, eval_every=1)
    run_trial(TINY, RECIPE, data, SearchDir(root).trial_folder(1, 7), settings=settings)
    return root


@pytest.fixture
def search(trained: Path, tmp_path: Path) -> Iterator[Path]:
    """A copy of `trained`, to be changed."""
    root = tmp_path / "search"
    shutil.copytree(trained, root)
    return root


def on_cpu(record: Record) -> Record:
    return replace(record, settings=replace(record.settings, device="cpu"))


def test_everything_needed_is_read_from_the_folder_and_its_search(search: Path, data: Path) -> None:
    record = read_record(search / "stage1" / "0007")
    assert replace(record.architecture, name="tiny") == TINY
    assert record.recipe == RECIPE
    assert (record.settings.epochs, record.settings.image_size) == (2, 64)
    assert [record.settings.is_evaluated(epoch) for epoch in (1, 2)] == [True, True]
    assert (record.data, record.settings.threads) == (data, 1)
    assert record.versions["torch"]


def test_the_repetition_is_identical_to_the_bit(search: Path, data: Path) -> None:
    folder = search / "stage1" / "0007"
    found = reproduce(on_cpu(read_record(folder)), data, folder / "reproduced")
    assert found.verdict == IDENTICAL
    assert found.before.aps == found.after.aps
    assert found.same_weights
    assert (found.loss_difference, found.hard_difference) == (0.0, 0.0)
    assert (found.request_changes, found.versions) == ((), {})
    assert SearchDir(search).numbers(1) == []  # no candidate file: nothing else was made
    assert json.loads(json.dumps(found.to_dict()))["verdict"] == IDENTICAL


def test_another_seed_is_another_training(search: Path, data: Path) -> None:
    folder = search / "stage1" / "0007"
    record = read_record(folder)
    settings = replace(record.settings, seed=1, device="cpu")
    result = run_trial(TINY, RECIPE, data, search / "other", settings=settings)
    found = compare(record, search / "other", result)
    assert not found.same_weights
    assert found.loss_difference > 0


@pytest.mark.parametrize(
    ("hard", "noise", "verdict"),
    [(0.10, 0.03, WITHIN), (0.13, 0.03, WITHIN), (0.14, 0.03, DIFFERENT), (0.14, 0.05, WITHIN)],
)
def test_the_verdict_goes_by_the_hard_ap(
    search: Path, hard: float, noise: float, verdict: str
) -> None:
    record = read_record(search / "stage1" / "0007")
    first = replace(record, result=replace(record.result, hard=0.1, best_hard=0.1))
    again = search / "again"
    shutil.copytree(record.folder, again)
    (again / "best.pt").unlink()
    after = replace(first.result, hard=hard, best_hard=hard)
    assert compare(first, again, after, noise=noise).verdict == verdict


def test_differences_are_the_largest_of_all_epochs(search: Path) -> None:
    record = read_record(search / "stage1" / "0007")
    again = search / "again"
    shutil.copytree(record.folder, again)
    (again / "metrics.csv").write_text("epoch,loss,hard\n1,1.5,0.25\n2,3.5,0.5\n")
    curve = replace(record.curve, loss={1: 2.0, 2: 3.25}, hard={1: 0.125, 2: 0.5})
    found = compare(replace(record, curve=curve), again, record.result)
    assert (found.loss_difference, found.hard_difference) == (0.5, 0.125)


def test_other_versions_are_named(search: Path) -> None:
    record = read_record(search / "stage1" / "0007")
    old = replace(record, versions={**record.versions, "torch": "1.0"})
    found = compare(old, record.folder, record.result)
    assert list(found.versions) == ["torch"]
    assert found.versions["torch"][0] == "1.0"


def test_other_data_are_refused_before_anything_is_written(
    search: Path, data: Path, tmp_path: Path
) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(data, copy)
    label = copy / "train" / "labelv2.txt"
    label.write_text(label.read_text() + "\n")
    record = read_record(search / "stage1" / "0007")
    with pytest.raises(IncomparableError, match=r"give its data with --data.*data: '"):
        reproduce(record, copy, tmp_path / "again")
    assert not (tmp_path / "again").exists()


def test_data_may_have_moved(
    search: Path, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(data, copy)
    asked: list[Any] = []

    def run(*arguments: Any, **options: Any) -> Any:
        asked.append((arguments[2], options["settings"].threads))
        shutil.copytree(search / "stage1" / "0007", arguments[3])
        return load_result(arguments[3])

    monkeypatch.setattr("nas.results.reproduce.run_trial", run)
    found = reproduce(read_record(search / "stage1" / "0007"), copy, tmp_path / "again")
    assert asked == [(copy, 1)]
    assert found.verdict == IDENTICAL


@pytest.mark.parametrize("name", ["result.json", "request.json"])
def test_an_unfinished_trial_cannot_be_reproduced(search: Path, name: str) -> None:
    folder = search / "stage1" / "0007"
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
def test_a_damaged_request_is_named(search: Path, text: str, message: str) -> None:
    folder = search / "stage1" / "0007"
    (folder / "request.json").write_text(text)
    with pytest.raises(ConfigError, match=rf"request\.json.*{message}"):
        read_record(folder)


def test_the_trials_own_folder_is_refused(search: Path, data: Path) -> None:
    folder = search / "stage1" / "0007"
    with pytest.raises(ConfigError, match="is the trial's own folder"):
        reproduce(read_record(folder), data, folder)


def test_data_parallel_trainings_are_refused(search: Path, data: Path, tmp_path: Path) -> None:
    record = read_record(search / "stage1" / "0007")
    several = replace(record, settings=replace(record.settings, workers=2))
    with pytest.raises(ConfigError, match="only a training of one worker"):
        reproduce(several, data, tmp_path / "again")


def test_a_trial_outside_a_search_needs_its_data_named(
    search: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(search / "stage1" / "0007", tmp_path / "alone")
    assert run_cli(["reproduce", str(tmp_path / "alone")]) == 1
    assert "--data is needed" in capsys.readouterr().err


def test_the_command_prints_the_verdict(search: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = search / "stage1" / "0007"
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
