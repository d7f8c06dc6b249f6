"""The learning rate as a function of the iteration: nothing to save, nothing to restore."""

import math
from collections.abc import Sequence

from trials.recipe import Recipe


def learning_rate(
    recipe: Recipe, iteration: int, iterations: int, rungs: Sequence[int] = ()
) -> float:
    """The rate of iteration `iteration` (from 0) in a training of `iterations`.

    A linear warm-up multiplies the schedule (REFERENCE facts, section 7): from
    `warmup_start` at iteration 0 to 1 at the warm-up's end.

    Args:
        recipe: holds the schedule.
        iteration: from 0.
        iterations: of the whole training.
        rungs: ascending lengths in iterations at which the training may be stopped. Up to
            each, the rate is that of a training of this length, its drops or its way to
            `final_ratio` included; after it, the rate is where the next longer schedule has
            it at this iteration. Only the first schedule has a warm-up: weights that have
            been trained need none.
    """
    lengths = (*rungs, iterations)
    length = next((length for length in lengths if iteration < length), iterations)
    rate = recipe.learning_rate * _decay(recipe, iteration, length)
    warmup = recipe.warmup_length(lengths[0])
    if iteration >= warmup:
        return rate
    return rate * (recipe.warmup_start + (1.0 - recipe.warmup_start) * iteration / warmup)


def _decay(recipe: Recipe, iteration: int, iterations: int) -> float:
    """The schedule's share of the rate, without the warm-up."""
    if recipe.schedule == "step":
        passed = sum(iteration >= drop * iterations for drop in recipe.drops)
        return float(recipe.drop_factor**passed)
    warmup = recipe.warmup_length(iterations)
    position = max(iteration - warmup, 0) / max(iterations - warmup, 1)
    remaining = 0.5 * (1.0 + math.cos(math.pi * position))
    if recipe.schedule == "linear":
        remaining = 1.0 - position
    return recipe.final_ratio + (1.0 - recipe.final_ratio) * remaining
