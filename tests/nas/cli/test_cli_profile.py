"""`scrfd-nas profile`, and what it times."""

from pathlib import Path

import pytest
from command_line import CommandLine
from tiny import TINY, make_data

from search_spaces.architecture import save_architecture
from search_spaces.errors import ConfigError
from trials.recipe import Recipe
from trials.settings import TrialSettings
from trials.training.profiling import PARTS, StepProfile, profile_training
from trials.trial import Trial


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return make_data(tmp_path / "data", 5, 5)


def arguments(data: Path, *more: str) -> list[str]:
    file = data / "tiny.yaml"
    save_architecture(TINY, file)
    fixed = ["--image-size", "64", "--batch-size", "2", "--steps", "3", "--threads", "1"]
    return ["profile", str(file), "--data", str(data), "--device", "cpu", *fixed, *more]


def test_shares_of_the_parts_add_up_to_1(data: Path, cli: CommandLine) -> None:
    content = cli.json(arguments(data))
    assert list(content["parts_s"]) == list(PARTS)
    assert all(seconds > 0 for seconds in content["parts_s"].values())
    assert sum(content["parts_s"].values()) == pytest.approx(content["step_s"])
    assert sum(content["shares"].values()) == pytest.approx(1)
    assert (content["steps"], content["images"], content["batch_size"]) == (3, 6, 2)
    assert content["images_per_second"] == pytest.approx(2 / content["step_s"])
    assert content["evaluation_s_per_image"] > 0
    assert (content["device"], content["threads"], content["precision"]) == ("cpu", 1, "fp32")


def test_table_names_the_parts_and_nothing_is_written(data: Path, cli: CommandLine) -> None:
    command = arguments(data)
    before = sorted(data.rglob("*"))
    shown = cli.run(command).out
    assert sorted(data.rglob("*")) == before
    for word in ("input", "forward", "backward", "assignment and loss", "optimiser", "evaluation"):
        assert word in shown
    assert "training images a second" in shown


def test_missing_data_is_one_line(tmp_path: Path, cli: CommandLine) -> None:
    assert "labelv2.txt: there is no such label file" in cli.fail(
        ["profile", "scrfd_0.5g", "--data", tmp_path / "none"]
    )


def test_zero_steps_are_refused(data: Path) -> None:
    settings = TrialSettings(image_size=64)
    trial = Trial(architecture=TINY, recipe=Recipe(), data_root=data, settings=settings)
    with pytest.raises(ConfigError, match="steps must be at least 1, got 0"):
        profile_training(trial, steps=0)


def test_rates_follow_from_the_seconds() -> None:
    found = StepProfile(
        seconds={"input": 0.1, "forward": 0.3},
        steps=2, images=16, evaluation_s=0.0, device="cpu",
        threads=1, precision="fp32", image_size=64, batch_size=8,
    )  # fmt: skip
    assert found.step_s == pytest.approx(0.4)
    assert found.images_per_second == pytest.approx(20)
    assert found.shares == pytest.approx({"input": 0.25, "forward": 0.75})
