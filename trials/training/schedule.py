"""The learning rate as a function of the iteration, without a state to save."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from trials.recipe import Recipe


@dataclass(frozen=True, kw_only=True)
class Schedule:
    """Iterations of a whole training and their learning rates.

    Attributes:
        recipe: holds the schedule's parameters.
        epoch_iterations: iterations of one epoch.
        epochs: number of epochs.
        rungs: epochs after which the training may be stopped, ascending.
    """

    recipe: Recipe
    epoch_iterations: int
    epochs: int
    rungs: tuple[int, ...] = ()

    @property
    def iterations(self) -> int:
        """Iterations of the whole training."""
        return self.epoch_iterations * self.epochs

    def rate(self, iteration: int) -> float:
        """Return the learning rate of `iteration`, counted from 0 through all epochs."""
        rungs = [self.epoch_iterations * rung for rung in self.rungs]
        return learning_rate(self.recipe, iteration, self.iterations, rungs)


def learning_rate(
    recipe: Recipe, iteration: int, iterations: int, rungs: Sequence[int] = ()
) -> float:
    """Return the learning rate of one iteration.

    A linear warm-up multiplies the schedule, as in mmcv's `LrUpdaterHook`: from
    `warmup_start` at iteration 0 to 1 at the end of the warm-up.

    Args:
        recipe: holds the schedule's parameters.
        iteration: from 0.
        iterations: length of the whole training.
        rungs: ascending iterations at which the training may be stopped. Up to each, the
            rate is that of a training of this length, its drops or its way to `final_ratio`
            included; after it, the rate is that of the next longer schedule at this
            iteration. Only the first schedule has a warm-up: trained weights need none.
    """
    lengths = (*rungs, iterations)
    length = next((length for length in lengths if iteration < length), iterations)
    rate = recipe.learning_rate * _decay(recipe, iteration, length)
    warmup = recipe.warmup_length(lengths[0])
    if iteration >= warmup:
        return rate
    return rate * (recipe.warmup_start + (1.0 - recipe.warmup_start) * iteration / warmup)


def _decay(recipe: Recipe, iteration: int, iterations: int) -> float:
    """Return the schedule's share of the full rate, without the warm-up."""
    if recipe.schedule == "step":
        passed = sum(iteration >= drop * iterations for drop in recipe.drops)
        return float(recipe.drop_factor**passed)
    warmup = recipe.warmup_length(iterations)
    position = max(iteration - warmup, 0) / max(iterations - warmup, 1)
    remaining = 0.5 * (1.0 + math.cos(math.pi * position))
    if recipe.schedule == "linear":
        remaining = 1.0 - position
    return recipe.final_ratio + (1.0 - recipe.final_ratio) * remaining
