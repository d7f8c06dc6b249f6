"""`scrfd-nas search` on fake trials, with a stated pace."""

from functools import partial
from pathlib import Path
from typing import Any

import fake_final
import pytest
from command_line import CommandLine

from nas import whole_search
from nas.cli.searches.status import resume_command
from nas.planning import search_rules
from nas.planning.plan_measuring import estimate_stage
from nas.search.directory import SearchDir
from search_spaces.errors import ConfigError
from trials.data.generated.generate import generate

HOURS = 0.04  # 40 images at 100 a second, 9 epochs, 8 candidates: 0.03 hours suffice


@pytest.fixture(scope="module")
def faces(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("set") / "faces"
    generate(root, num_train=40, num_val=3, seed=0, long_side=(64, 96))
    return root


@pytest.fixture(autouse=True)
def _cheap(without_training: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(search_rules, "FEWEST_ITERATIONS", 90)
    paced = partial(estimate_stage, images_per_second=100.0)
    monkeypatch.setattr(whole_search, "estimate_stage", paced)
    monkeypatch.setattr(whole_search, "train", fake_final.train)


def command(faces: Path, *more: object, hours: float = HOURS) -> list[object]:
    flags = ("--data", faces, "--flops", "0.1G", "--image-size", 64)
    return ["search", *flags, "--max-gpu-hours", hours, *more]


def test_a_dry_run_prints_the_plan_in_80_columns_and_writes_nothing(
    faces: Path, cli: CommandLine
) -> None:
    text = cli.run(command(faces, "--dry-run")).out
    table, reasons = text.split("\n- ", 1)
    assert max(map(len, table.splitlines())) <= 80
    for step in ("stage 1", "stage 2", "confirmation", "final training", "reserve"):
        assert step in table
    assert "- recipe quick: " in reasons
    assert "a third of a trained one; without a GPU, GPU-hours are hours of a trial" in reasons
    content = cli.json(command(faces, "--dry-run"))
    assert content["search_dir"] == "runs/scrfdgen0.1g"
    assert content["plan"]["candidates"] >= 8
    assert sum(content["plan"]["hours"].values()) == pytest.approx(HOURS)
    assert not Path("runs").exists()


def test_a_search_ends_with_a_detector_and_its_report(
    faces: Path, cli: CommandLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    printed = cli.run(command(faces, "--out", "final"))
    assert "Plan of 0.04 GPU-hours" in printed.out
    assert "Stage 2: " in printed.out
    assert "Confirmed with more seeds" in printed.out
    assert printed.out.rstrip().endswith("in final")
    files = {path.name for path in Path("final").iterdir()}
    assert {"best.pt", "model.onnx", "architecture.yaml", "report.html", "result.json"} <= files
    stored = Path("runs/scrfdgen0.1g/plan.yaml").read_bytes()
    page = Path("runs/scrfdgen0.1g/report.html")
    assert page.read_bytes() == Path("final/report.html").read_bytes()
    monkeypatch.setattr(
        "nas.cli.searches.report.write_page", lambda _: (page, {})
    )  # once is enough
    again = cli.json(command(faces, "--out", "final", hours=9 * HOURS))
    assert Path("runs/scrfdgen0.1g/plan.yaml").read_bytes() == stored
    assert again["final"]["folder"] == "final"
    assert again["report"] == "runs/scrfdgen0.1g/report.html"
    assert {"stage", "candidate", "hard", "flops"} <= set(again["final"])
    assert "run by" not in cli.run(["status"]).out


@pytest.mark.parametrize("verb", ["resume", "search"])
def test_the_command_that_continues_is_that_of_the_whole_search(tmp_path: Path, verb: str) -> None:
    directory = SearchDir(tmp_path)
    if verb == "search":
        (tmp_path / "plan.yaml").write_text("")
    assert resume_command(directory).startswith(f"scrfd-nas {verb} --search-dir {tmp_path}")


def test_a_search_that_stage1_began_is_not_taken_over(faces: Path, cli: CommandLine) -> None:
    where = ("--data", faces, "--flops", "0.1G", "--image-size", 64)
    cli.run(["stage1", *where, "--num-candidates", 1, "--epochs", 1])
    assert "choose another --search-dir" in cli.fail(command(faces))


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (("--recipe", "none"), "a recipe must be"),
        (("--data", "nowhere"), "nowhere: does not exist"),
        (("--image-size", 100), "image_size must be a multiple of 32"),
    ],
)
def test_mistakes_are_one_line(
    faces: Path, cli: CommandLine, more: tuple[object, ...], message: str
) -> None:
    assert message in cli.fail(command(faces, *more))
    assert not Path("runs").exists()


def test_a_budget_that_is_too_small_is_refused_with_what_it_takes(
    faces: Path, cli: CommandLine
) -> None:
    error = cli.fail(command(faces, hours=0.02))
    assert "0.02 GPU-hours is too small for a meaningful answer" in error
    assert not Path("runs").exists()
    cli.run(["search", "--data", faces, "--flops", "0.1G"], 2)


def test_the_options_of_the_stages_reach_the_plan(
    faces: Path, cli: CommandLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: dict[str, Any] = {}

    def plan_here(directory: Any, options: dict[str, Any], hours: float) -> Any:
        seen.update(options, hours=hours)
        raise ConfigError("seen")

    monkeypatch.setattr(whole_search, "plan_here", plan_here)
    cli.fail(command(faces, "--max-latency", "4.2ms", "--seed", 3, "--recipe", "quick"))
    assert seen.pop("recipe")["schedule"] == "cosine"
    expected = {"flops": 10**8, "image_size": 64, "seed": 3, "max_latency": 4.2, "hours": HOURS}
    assert seen == {**expected, "data": str(faces)}


def test_faults_in_the_data_are_refused_before_anything_is_timed(
    tmp_path: Path, cli: CommandLine
) -> None:
    broken = tmp_path / "broken"
    generate(broken, num_train=4, num_val=2, seed=0, long_side=(64, 96))
    next((broken / "train" / "images").rglob("*.jpg")).unlink()
    error = cli.fail(command(broken))
    assert "1 fault, listed by `scrfd-nas data check" in error
