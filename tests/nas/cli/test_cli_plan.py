from pathlib import Path
from typing import Any

import pytest
from command_line import CommandLine
from fake_trials import make_data

from nas.search.directory import SearchDir
from trials.data.generated.generate import generate

SMALL = ("--flops", "0.1G", "--space", "mobile", "--num-candidates", "5", "--image-size", "64")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("set") / "faces"
    generate(root, num_train=7, num_val=3, seed=0, long_side=(96, 128))
    return root


def plan_of(cli: CommandLine, *arguments: object) -> Any:
    return cli.json(["plan", *arguments])


def test_a_stated_pace_is_multiplied_out(data: Path, tmp_path: Path, cli: CommandLine) -> None:
    flags = ("--data", data, "--search-dir", tmp_path / "s", "--epochs", "4", "--eval-every", "2")
    machine = ("--cpus-per-trial", "1", "--gpus-per-trial", "0", "--images-per-second", "3.5")
    found = plan_of(cli, *SMALL, *flags, *machine)
    assert (found["candidates"], found["epochs"]) == (5, 20)
    assert (found["training_images"], found["validation_images"]) == (7, 3)
    assert found["images"] == 20 * 7
    # 4 epochs of 7 images at 3.5 a second; 2 evaluations of 3 images at three times the pace.
    assert found["trial_s"] == pytest.approx(8 + 6 / (3 * 3.5))
    assert found["evaluation_share"] == pytest.approx(3 / (3 * 3.5) / found["trial_s"])
    lacks = found["report_limits"]
    assert ["--num-candidates 8" in lacks[1], "--eval-every 1" in lacks[2]] == [True, True]
    assert found["cpu_hours"] == found["max_gpu_hours_counts"] == found["trial_hours"]
    assert found["trial_hours"] == pytest.approx(5 * found["trial_s"] / 3600)
    assert found["feasible"] > 5
    assert 0 < found["acceptance"] < 1
    assert "--images-per-second" in found["pace_basis"]
    assert not (tmp_path / "s").exists()  # nothing is spent, nothing is made


def test_gpus_can_be_planned_for_that_are_not_here(
    data: Path, tmp_path: Path, cli: CommandLine
) -> None:
    flags = ("--data", data, "--search-dir", tmp_path / "s", "--epochs", "4")
    found = plan_of(cli, *SMALL, *flags, "--gpus", "8", "--images-per-second", "100")
    assert (found["slots"], found["gpus_per_trial"]) == (5, 1)  # no more than there are trials
    assert found["gpu_hours"] == found["trial_hours"]
    assert found["wall_s"] == pytest.approx(found["trial_s"])


def test_steps_are_timed_and_the_table_says_how(
    data: Path, tmp_path: Path, cli: CommandLine
) -> None:
    flags = ("--data", str(data), "--search-dir", str(tmp_path / "s"), "--batch-size", "2")
    machine = ("--cpus-per-trial", "1024", "--gpus-per-trial", "0")
    assert "--cpus-per-trial must not exceed" in cli.run(["plan", *SMALL, *flags, *machine], 1).err
    command = ["plan", *SMALL, *flags, "--num-candidates", "1", "--scheduler", "asha"]
    printed, noted = cli.run(command)
    assert noted.count("the report will") == 3
    # 80 epochs of 7 images, evaluations of 3: 3 % are 16.8 evaluations, so 8, 16, .. 72, 78, 79.
    assert "12 x 3 images" in printed
    assert "all but the last:" in printed
    assert "16 steps of 1 candidate timed here" in printed
    for figure in ("sampler's acceptance", "wall-clock", "disk", "evaluation"):
        assert figure in printed


def test_what_is_done_is_taken_off_and_a_schedule_is_expected(
    tmp_path: Path, cli: CommandLine, data: Path
) -> None:
    flags = ("--data", data, "--search-dir", tmp_path / "s", "--epochs", "9")
    pace = ("--images-per-second", "10", "--cpus-per-trial", "1", "--gpus-per-trial", "0")
    whole = plan_of(cli, *SMALL, *flags, *pace)
    assert (whole["epochs"], whole["epochs_basis"]) == (45, "")
    stopping = plan_of(cli, *SMALL, *flags, *pace, "--scheduler", "asha")
    assert 9 + 4 < stopping["epochs"] < 45
    assert stopping["epochs_basis"].startswith("expected: asha replayed")
    folder = SearchDir(tmp_path / "s").trial_folder(1, 2)
    folder.mkdir(parents=True)
    (folder / "architecture.yaml").write_text("")
    (folder / "metrics.csv").write_text("epoch\n1\n2\n3\n4\n")
    begun = plan_of(cli, *SMALL, *flags, *pace)
    assert (begun["epochs"], begun["epochs_done"]) == (41, 4)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "--flops is needed to begin a search"),
        (("--flops", "1G", "--template", "best"), "--template belongs to --stage 2"),
        (("--stage", "2", "--space", "mobile"), "--space belongs to --stage 1"),
        (("--stage", "4"), "--stage must be 1 or 2, got 4"),
        (("--flops", "1G", "--images-per-second", "0"), "images per second must be above 0"),
        (("--flops", "1G", "--image-size", "100"), "image_size must be a multiple of 32"),
    ],
)
def test_mistakes_are_one_line(
    tmp_path: Path, cli: CommandLine, data: Path, arguments: tuple[str, ...], message: str
) -> None:
    where = ("--data", str(data), "--search-dir", str(tmp_path / "s"))
    assert message in cli.fail(["plan", *where, *arguments])


def test_data_that_cannot_be_evaluated_on_are_refused(tmp_path: Path, cli: CommandLine) -> None:
    empty = make_data(tmp_path / "data")
    where = ("--data", str(empty), "--search-dir", str(tmp_path / "s"))
    assert str(empty) in cli.run(["plan", *SMALL, *where, "--images-per-second", "1"], 1).err
