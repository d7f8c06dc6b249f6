"""Evolution: mutate the winner of a tournament among the observations.

The proposal is the architecture of the right FLOPs nearest to the mutated parent. Optuna's own
genetic samplers do not serve: they find their generations by attributes that trials of another
search or of a resumed one do not have.
"""

import numpy as np

from nas.strategies.coordinates import Floats, Point
from nas.strategies.strategy import Learner, Seen
from search_spaces.randomness import below, raw_words

TOURNAMENT = 12  # observations that compete to be the parent
REACH = 0.4  # greatest change as a fraction of a number's range
CHANGED = 0.5  # probability that a number changes
OTHER_BLOCK = 8  # one of so many children gets a random kind of block


class Evolution(Learner):
    """Tournament selection among all observations, then mutation."""

    purpose = 12

    def wanted(self, seen: list[Seen], generator: np.random.Generator) -> Point:
        """Return the coordinates of a child of a good observation."""
        competitors = [seen[below(generator, len(seen))] for _ in range(TOURNAMENT)]
        parent = max(competitors, key=lambda one: one.standing).point
        return _mutated(parent, self.shell.coordinates.blocks, generator)


def _mutated(parent: Point, blocks: tuple[str, ...], generator: np.random.Generator) -> Point:
    count = len(parent.numbers)
    step = REACH * (2 * _uniform(generator, count) - 1)
    numbers = parent.numbers + step * (_uniform(generator, count) < CHANGED)
    is_new = below(generator, OTHER_BLOCK) == 0
    block = blocks[below(generator, len(blocks))] if is_new else parent.block
    return Point(block=block, numbers=np.clip(numbers, 0, 1))


def _uniform(generator: np.random.Generator, count: int) -> Floats:
    uniform: Floats = raw_words(generator, count) / 2.0**32
    return uniform
