"""The rules of `search`, by cases that follow by hand from docs/SEARCHING.md."""

import math
import re
from pathlib import Path
from typing import Any

import pytest

from nas.early_stopping.schedule import Schedule
from nas.planning.plan import expected_epochs
from nas.planning.search_rules import (
    CANDIDATES,
    SearchBudget,
    SearchPlan,
    plan_search,
    usual_recipe,
)
from search_spaces.errors import ConfigError

PAGE = Path(__file__).resolve().parents[3] / "docs/SEARCHING.md"
# An epoch of the 12,880 training images of WIDER FACE takes a minute on each of 8 GPUs.
WIDER = {"epoch_hours": 1 / 60, "slots": 8, "images": 12_880, "batch_size": 8}


def plan(hours: float, **changes: Any) -> SearchPlan:
    return plan_search(SearchBudget(hours=hours, **{**WIDER, **changes}))


def test_the_smallest_plan_is_counted_out_by_hand() -> None:
    """8 candidates and fewer than 9 epochs cannot be compared, and the plan needs 3.9 hours."""
    with pytest.raises(ConfigError, match=r"9 epochs each.* take 4 GPU-hours") as refusal:
        plan(1.0)
    assert "1 GPU-hours is too small" in str(refusal.value)
    found = plan(4.0)
    assert (found.candidates, found.epochs, found.schedule.milestones) == (8, 9, (1, 3))
    # 3 of stage 2 and the template, with two more seeds each.
    assert found.trainings["confirmation"] == 8
    assert found.hours["confirmation"] == pytest.approx(8 * 9 / 60)
    assert found.final_epochs == 8 * 9
    assert found.hours["final training"] == pytest.approx(72 / 60)
    # Successive halving trains 0.49 of 8 x 9 epochs.
    assert found.hours["stage 1"] == found.hours["stage 2"] == pytest.approx(0.49 * 72 / 60)
    assert sum(found.hours.values()) == pytest.approx(4.0)
    assert found.hours["reserve"] >= 0.4
    # 8 trials at a time in the stages and in the confirmation, the final training alone.
    assert found.wall_hours == pytest.approx((2 * found.hours["stage 1"] + 1.2) / 8 + 1.2)


@pytest.mark.parametrize(
    ("images", "batch_size", "epochs"),
    [(640, 4, 9), (160, 4, 36), (100, 8, 116), (12_880, 8, 9)],
)
def test_a_trial_has_1440_iterations_and_9_epochs_at_least(
    images: int, batch_size: int, epochs: int
) -> None:
    sizes = {"images": images, "batch_size": batch_size}
    with pytest.raises(ConfigError, match=f", {epochs} epochs each"):
        plan(0.001, **sizes)


def test_the_hours_that_a_refusal_names_suffice() -> None:
    for epoch_hours in (1e-4, 0.37, 20.0):
        with pytest.raises(ConfigError) as refusal:
            plan(1e-6, epoch_hours=epoch_hours)
        needed = re.search(r"take ([0-9.e+]+) GPU-hours", str(refusal.value))
        assert needed
        assert plan(float(needed[1]), epoch_hours=epoch_hours).candidates == 8
        with pytest.raises(ConfigError):
            plan(0.9 * float(needed[1]), epoch_hours=epoch_hours)


@pytest.mark.parametrize("hours", [4, 5, 7, 10, 17, 24, 33, 48, 60, 100, 240])
def test_no_plan_exceeds_its_budget(hours: float) -> None:
    found = plan(hours)
    assert found.hours["reserve"] >= 0.1 * hours
    assert sum(found.hours.values()) == pytest.approx(hours)


@pytest.mark.parametrize(("candidates", "epochs"), [(8, 9), (8, 24), (24, 9), (32, 24), (64, 9)])
def test_the_share_that_asha_trains_is_that_of_a_replay(candidates: int, epochs: int) -> None:
    schedule = Schedule(epochs=epochs, scheduler="asha", grace_epochs=math.ceil(epochs / 9))
    expected, _ = expected_epochs(schedule, [epochs] * candidates, slots=2)
    share = CANDIDATES[candidates]
    assert share - 0.025 < expected / (candidates * epochs) < share


def test_more_hours_never_mean_fewer_candidates_or_seeds() -> None:
    sizes = [(p.candidates, p.seeds) for p in map(plan, (4, 12, 24, 48, 120, 240, 2400))]
    assert sizes == sorted(sizes)
    assert sizes[0][0] < sizes[-1][0]


def test_a_budget_without_bounds_stops_where_evidence_does() -> None:
    found = plan(24_000.0)
    assert (found.candidates, found.epochs, found.final_epochs) == (320, 160, 640)
    assert (found.strategy, found.confirmed, found.seeds) == ("evolution", 5, 5)
    assert any("GPU-hours are not needed" in choice for choice in found.reasons)
    assert not any("not needed" in choice for choice in plan(24.0).reasons)


def test_a_tenth_is_held_out_where_it_has_64_images() -> None:
    assert plan(1e6, images=640, batch_size=4).select_on == "holdout:0.1"
    few = plan(1e6, images=639, batch_size=4)
    assert few.select_on == "val"
    assert "too high" in few.reasons["selection on val"]


def test_small_data_have_the_quick_recipe_unless_the_user_chose() -> None:
    assert (usual_recipe(4999), usual_recipe(5000)) == ("quick", "reference")
    assert "recipe quick" in plan(24.0, recipe="quick").reasons
    assert not any(choice.startswith("recipe") for choice in plan(24.0).reasons)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"hours": -1.0}, "budget in GPU-hours must be a finite number"),
        ({"hours": float("nan")}, "budget in GPU-hours"),
        ({"epoch_hours": 0.0}, "hours of an epoch"),
        ({"slots": 0}, "slots must be an integer of at least 1"),
        ({"images": 0}, "images must be an integer of at least 1"),
    ],
)
def test_impossible_budgets_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        SearchBudget(**{"hours": 1.0, **WIDER, **changes})


def test_the_page_has_the_plans_of_1_10_and_100_gpu_days() -> None:
    rows = re.findall(r"(?m)^\| (10{0,2}) GPU-days? \|(.*)\|$", PAGE.read_text("utf-8"))
    assert [row[0] for row in rows] == ["1", "10", "100"]
    for days, cells in rows:
        found = plan(24.0 * int(days))
        rungs = " and ".join(map(str, found.schedule.milestones))
        spent = sum(found.hours.values()) - found.hours["reserve"]
        assert [cell.strip() for cell in cells.split("|")] == [
            f"{found.candidates} + {found.candidates}",
            f"{found.epochs}; {rungs}",
            found.strategy,
            f"{found.confirmed} x {found.seeds}",
            found.select_on,
            str(found.final_epochs),
            f"{spent / 24:.2g}",
        ]
