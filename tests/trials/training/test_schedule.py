"""The learning rate with rungs: every rung ends a complete schedule."""

import pytest

from trials.recipe import Recipe
from trials.training.schedule import learning_rate

STEPS = 10  # an epoch
RUNGS = (2 * STEPS, 4 * STEPS)  # of 8 epochs


def rate(recipe: Recipe, iteration: int) -> float:
    return learning_rate(recipe, iteration, 8 * STEPS, RUNGS)


@pytest.mark.parametrize("schedule", ["step", "cosine", "linear"])
def test_up_to_a_rung_the_rate_is_that_of_a_training_of_that_length(schedule: str) -> None:
    recipe = Recipe(schedule=schedule, drops=(0.5, 0.75), warmup_fraction=0.0)
    for start, end in ((0, 20), (20, 40), (40, 80)):
        found = [rate(recipe, iteration) for iteration in range(start, end)]
        assert found == [learning_rate(recipe, iteration, end) for iteration in range(start, end)]
    assert rate(recipe, 20) > rate(recipe, 19)  # the next schedule starts at a higher rate


@pytest.mark.parametrize("schedule", ["step", "cosine", "linear"])
def test_only_the_first_schedule_warms_up(schedule: str) -> None:
    recipe = Recipe(schedule=schedule, warmup_fraction=0.75, warmup_start=0.0, drops=())
    assert rate(recipe, 0) == 0.0
    assert rate(recipe, 14) < rate(recipe, 15)  # 15 of the first 20
    # A training of 40 would warm up for 30 iterations: at full rate instead.
    assert rate(recipe, 20) == rate(recipe, 29) == 0.01
