"""Search of the crop scales: the draws and their stage."""

import json
from pathlib import Path

import numpy as np
import pytest
from fake_search import stage1_command
from fake_trials import FakeCluster, FakeDisplay, make_data

from nas import stage
from nas.cli.main import run
from nas.results.confirm import Confirmation, confirm
from nas.search.crop_search import crop_shares, draw_weights, redistributed
from nas.search.directory import SearchDir
from nas.search.request import RedistributionRequest
from nas.study.study import read_study
from trials.recipe import Recipe, load_recipe

REFERENCE = Recipe.named("reference").to_dict()


def test_draws_change_the_weights_alone_and_repeat() -> None:
    assert redistributed(REFERENCE, 7, 1) == REFERENCE  # the first candidate
    drawn = redistributed(REFERENCE, 7, 2)
    assert {key for key in drawn if drawn[key] != REFERENCE[key]} == {"crop_weights"}
    assert redistributed(REFERENCE, 7, 2) == drawn
    assert redistributed(REFERENCE, 7, 3) != drawn
    assert redistributed(REFERENCE, 8, 2) != drawn
    assert sum(drawn["crop_weights"]) == pytest.approx(1, abs=1e-3)
    Recipe.from_dict(drawn)
    assert draw_weights(0, 2, 4) == [0.2197, 0.0616, 0.0589, 0.6598]


def test_every_distribution_is_equally_likely() -> None:
    # Of Dirichlet(1, ..., 1) over k: mean 1 / k, variance (k - 1) / (k^2 (k + 1)), and the
    # chance that a share exceeds x is (1 - x)^(k - 1).
    draws = np.array([draw_weights(0, number, 4) for number in range(4000)])
    assert draws.mean(axis=0) == pytest.approx([0.25] * 4, abs=0.015)
    assert draws.var(axis=0) == pytest.approx([3 / 80] * 4, abs=0.004)
    assert (draws > 0.5).mean() == pytest.approx(0.5**3, abs=0.01)


def test_shares_are_the_probabilities_in_training() -> None:
    assert crop_shares(REFERENCE) == dict.fromkeys(Recipe().crop_scales, 0.1)
    twice = {**REFERENCE, "crop_scales": [1.0, 2.0, 1.0], "crop_weights": [1, 2, 1]}
    assert crop_shares(twice) == {1.0: 0.5, 2.0: 0.5}


@pytest.fixture
def cluster(without_training: FakeCluster, tmp_path: Path) -> FakeCluster:
    # The fake's APs by candidate, of both stages.
    make_data(tmp_path / "data", curves={"1": [0.3], "2": [0.5], "3": [0.4]})
    assert run(stage1_command("data")) == 0
    without_training.asked.clear()
    return without_training


def directory() -> SearchDir:
    return SearchDir(Path("runs/scrfdgen0.5g"))


def stage_sr(*more: str, num: int = 3) -> list[str]:
    return ["stage-sr", "--num-candidates", str(num), *more]


def test_candidates_share_a_network_and_differ_in_their_recipe(
    cluster: FakeCluster, capsys: pytest.CaptureFixture[str]
) -> None:
    capsys.readouterr()
    assert run(stage_sr("--json")) == 0
    rows = json.loads(capsys.readouterr().out)["stage3"]
    tasks = cluster.job.tasks
    template = directory().candidates(1)[2]  # stage 1's best
    assert set(directory().candidates(3).values()) == {template}
    assert [row["candidate"] for row in rows] == [2, 3, 1]
    for task in tasks:
        recipe = load_recipe(directory().recipe_file(3, task.number))
        assert recipe == Recipe.from_dict(task.recipe)
        row = next(row for row in rows if row["candidate"] == task.number)
        shares = {f"crop_{scale:g}": share for scale, share in crop_shares(task.recipe).items()}
        assert {name: row[name] for name in shares} == shares
    assert len({str(task.recipe["crop_weights"]) for task in tasks}) == 3
    assert tasks[0].recipe["crop_weights"] == []


def test_the_stage_continues_and_grows(cluster: FakeCluster) -> None:
    assert run(stage_sr(num=2)) == 0
    before = directory().recipe_file(3, 2).read_text()
    assert run(stage_sr(num=2)) == 0
    assert cluster.asked == [1, 2]
    assert run(stage_sr(num=3)) == 0
    assert cluster.asked == [1, 2, 3]
    assert directory().recipe_file(3, 2).read_text() == before
    assert [record.candidate for record in read_study(directory().journal, 3)] == [1, 2, 3]


def test_the_template_is_of_the_last_stage_that_has_begun(cluster: FakeCluster) -> None:
    assert run(["stage2", "--num-candidates", "2"]) == 0
    assert run(stage_sr("--template", "1", num=1)) == 0
    assert directory().candidates(3)[1] == directory().candidates(2)[1]
    request = directory().requests()[3]
    assert isinstance(request, RedistributionRequest)
    assert (request.template, request.epochs, request.image_size) == ("1", 2, 64)


def test_the_scales_are_printed_and_the_stage_is_in_status_and_report(
    cluster: FakeCluster, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(stage_sr()) == 0
    output = capsys.readouterr().out
    assert "Crop scales, % of samples" in output
    assert "10.0" in output
    assert run(["status"]) == 0
    status = capsys.readouterr().out
    assert "3/3 finished" in status[status.index("stage 3 done") :]
    assert run(["report"]) == 0
    assert (directory().root / "report.html").is_file()


def test_a_confirmation_keeps_the_candidates_recipe(cluster: FakeCluster) -> None:
    assert run(stage_sr()) == 0
    options = stage.RunOptions()
    confirm(directory(), Confirmation(stage=3, top=1, seeds=2), options, FakeDisplay())
    tasks = cluster.job.tasks
    assert [Path(task.folder).parts[-3:] for task in tasks] == [("0002", "seeds", "1")]
    assert tasks[0].recipe == directory().requests()[3].recipe_of(2)
    assert tasks[0].recipe["crop_weights"]
