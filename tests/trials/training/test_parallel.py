"""Data-parallel workers train as one worker on the joint batch, and resume after a kill."""

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import parallel_worker as script
import pytest
import torch
from tiny import make_data

from search_spaces.errors import ConfigError, IncomparableError
from trials.run import run_trial
from trials.training.parallel import ALONE, Workers, joined_workers

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Nine small images to train on, so that the last joint batch is uneven."""
    return make_data(tmp_path_factory.mktemp("data"), num_train=9, num_val=2)


@pytest.fixture(scope="module")
def root(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Run every job of the script with two workers and return their folder."""
    root = tmp_path_factory.mktemp("workers")
    command = [sys.executable, script.__file__, str(root), str(data)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True, timeout=300)
    return root


def read(path: Path) -> dict[str, Any]:
    content: dict[str, Any] = torch.load(path, weights_only=True)
    return content


def exit_codes(root: Path, job: str) -> list[int]:
    codes: list[int] = json.loads((root / "codes.json").read_text())[job]
    return codes


@pytest.fixture(scope="module")
def found_by_rank(root: Path) -> list[dict[str, Any]]:
    """Return what two workers found, by rank."""
    assert exit_codes(root, "losses") == [0, 0]
    return [read(root / "losses" / str(rank)) for rank in range(2)]


@pytest.mark.parametrize("case", script.FACES_BY_CASE)
def test_two_workers_have_the_losses_and_gradients_of_the_joint_batch(
    found_by_rank: list[dict[str, Any]], case: str
) -> None:
    expected = script.losses_and_gradients(ALONE, case)
    assert expected["total"] > 0.1
    for found in found_by_rank:
        assert found[case].keys() == expected.keys()
        for name, value in expected.items():
            largest = value.abs().max().clamp(min=1e-6)
            difference = (found[case][name] - value).abs().max() / largest
            assert difference < 1e-5, f"{name}: {difference:.1e}"


def test_workers_agree_on_means_sums_and_shared_values(found_by_rank: list[dict[str, Any]]) -> None:
    assert [found["rank"] for found in found_by_rank] == [0, 1]
    for found in found_by_rank:
        assert found["mean"].tolist() == [2.0, 6.0]
        assert found["total"] == 21
        assert found["shared"] == "from 0"
    assert found_by_rank[1]["mean's argument"].tolist() == [3.0, 8.0]  # is left as it was


def test_a_single_worker_needs_no_process_group() -> None:
    parameter = torch.nn.Parameter(torch.zeros(2))
    parameter.grad = torch.ones(2)
    ALONE.average_gradients([parameter])
    assert parameter.grad.tolist() == [1.0, 1.0]
    assert ALONE.total(3) == 3
    assert ALONE.share(lambda: "mine") == "mine"
    assert ALONE.leads
    assert joined_workers() == ALONE


@pytest.mark.parametrize(("rank", "count"), [(-1, 2), (2, 2), (0, 0)])
def test_a_rank_outside_the_group_is_refused(rank: int, count: int) -> None:
    with pytest.raises(ConfigError, match="rank must be from 0 to count - 1"):
        Workers(rank=rank, count=count)


def state(trial: Path) -> dict[str, Any]:
    """Return a trial's last checkpoint without its timing."""
    content = read(trial / "last.pt")
    for name in ("duration_s", "step_s"):
        content["progress"].pop(name)
    for report in content["progress"]["reports"]:
        report.pop("images_per_second")
    return content


def test_both_workers_end_with_the_same_result_and_only_the_leader_reports(root: Path) -> None:
    assert exit_codes(root, "undisturbed") == [0, 0]
    leader, follower = (read(root / "undisturbed" / str(rank)) for rank in range(2))
    assert leader["epochs"] == [1, 2, 3]
    assert follower["epochs"] == []
    assert leader["loss"] == follower["loss"]
    assert state(root / "whole")["progress"]["images"] == 3 * 10  # one image twice an epoch


def test_a_killed_run_resumes_with_the_same_outcome(root: Path) -> None:
    killed, other = exit_codes(root, "killed")
    assert killed == -9
    assert other == 1  # fails when the connection to the killed worker is lost
    assert exit_codes(root, "again") == [0, 0]
    assert read(root / "again" / "0")["epochs"] == [3]
    assert_equal(state(root / "continued"), state(root / "whole"))


def test_all_workers_stop_at_the_same_iteration_and_resume_there(root: Path) -> None:
    assert exit_codes(root, "interrupted") == [0, 0]
    reasons = [read(root / "interrupted" / str(rank))["reason"] for rank in range(2)]
    assert reasons == ["stopped in epoch 2 after iteration 4"] * 2
    assert exit_codes(root, "resumed") == [0, 0]
    assert read(root / "resumed" / "0")["epochs"] == [2, 3]
    assert_equal(state(root / "stopped"), state(root / "whole"))


def assert_equal(found: Any, expected: Any, where: str = "state") -> None:
    """Assert that nested values are equal, tensors to the bit."""
    assert type(found) is type(expected), where
    if isinstance(expected, torch.Tensor):
        assert torch.equal(found, expected), where
    elif isinstance(expected, dict):
        assert found.keys() == expected.keys(), where
        for key, value in expected.items():
            assert_equal(found[key], value, f"{where}.{key}")
    elif isinstance(expected, list):
        assert len(found) == len(expected), where
        for index, value in enumerate(expected):
            assert_equal(found[index], value, f"{where}.{index}")
    else:
        assert found == expected, where


def test_another_number_of_workers_is_refused(data: Path, root: Path) -> None:
    folder = root / "whole"
    for settings in (replace(script.SETTINGS, workers=1), replace(script.SETTINGS, workers=3)):
        workers = Workers(count=settings.workers)
        with pytest.raises(IncomparableError, match=r"settings\.workers: 2 -> "):
            run_trial(script.TINY, script.RECIPE, data, folder, settings=settings, workers=workers)


def test_settings_and_workers_must_agree(data: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="settings ask for 2 workers, got 1"):
        run_trial(script.TINY, script.RECIPE, data, tmp_path / "trial", settings=script.SETTINGS)
    assert not (tmp_path / "trial").exists()
