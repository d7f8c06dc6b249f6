"""The learning rate with rungs: every rung ends a complete schedule."""

import pytest

from trials.recipe import Recipe
from trials.training.schedule import learning_rate

STEPS = 10  # an epoch
RUNGS = (2 * STEPS, 4 * STEPS)  # of 8 epochs


def rate(recipe: Recipe, iteration: int) -> float:
    return learning_rate(recipe, iteration, 8 * STEPS, RUNGS)


@pytest.mark.parametrize(
    ("iteration", "share"),
    [
        (9, 1.0),  # a training of 20: drops at 10 and 15
        (10, 0.1),
        (19, 0.01),
        (20, 0.1),  # a training of 40: drops at 20 and 30, so the rate is up again
        (29, 0.1),
        (30, 0.01),
        (39, 0.01),
        (40, 0.1),  # a training of 80: drops at 40 and 60
        (59, 0.1),
        (60, 0.01),
        (79, 0.01),
    ],
)
def test_the_step_schedule_drops_up_to_every_rung(iteration: int, share: float) -> None:
    recipe = Recipe(drops=(0.5, 0.75), warmup_fraction=0.0)
    assert rate(recipe, iteration) == pytest.approx(0.01 * share)


@pytest.mark.parametrize(
    ("iteration", "share"),
    [
        (0, 1.0),
        (10, 0.5),  # half of 20
        (20, 0.5),  # half of 40: cos(pi / 2) = 0
        (30, 0.146447),  # three quarters of 40: (1 - 1 / sqrt 2) / 2
        (40, 0.5),
        (60, 0.146447),
    ],
)
def test_after_a_rung_the_cosine_continues_the_next_longer_schedule(
    iteration: int, share: float
) -> None:
    recipe = Recipe(schedule="cosine", warmup_fraction=0.0, learning_rate=1.0)
    assert rate(recipe, iteration) == pytest.approx(share, abs=1e-6)


def test_up_to_the_first_rung_the_rate_is_that_of_a_training_of_that_length() -> None:
    recipe = Recipe(schedule="cosine", warmup_fraction=0.25)
    whole = [learning_rate(recipe, i, RUNGS[0]) for i in range(RUNGS[0])]
    assert [rate(recipe, i) for i in range(RUNGS[0])] == whole


@pytest.mark.parametrize("schedule", ["step", "cosine", "linear"])
def test_only_the_first_schedule_warms_up(schedule: str) -> None:
    recipe = Recipe(schedule=schedule, warmup_fraction=0.75, warmup_start=0.0, drops=())
    assert rate(recipe, 0) == 0.0
    assert rate(recipe, 14) < rate(recipe, 15)  # 15 of the first 20
    # A training of 40 would warm up for 30 iterations: at full rate instead.
    assert rate(recipe, 20) == rate(recipe, 29) == 0.01
