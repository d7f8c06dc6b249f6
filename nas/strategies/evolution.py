"""Evolution: children of the better observations, brought onto the shell.

A parent wins a tournament among the observations, some of its numbers are changed, and the
child is the architecture of the right FLOPs nearest to that. (Optuna's own genetic samplers
find their generations by marks that only their own studies carry, which trials of another
search or of a resumed one do not have.)
"""

import numpy as np

from nas.strategies.coordinates import Place, Points
from nas.strategies.learner import Learner, Seen
from search_spaces.randomness import below, raw_words

TOURNAMENT = 12  # observations that compete to be the parent
REACH = 0.4  # of a number's range, how far a change goes at most
CHANGED = 0.5  # of the numbers
OTHER_BLOCK = 8  # in one of so many children the kind of block is drawn anew


class Evolution(Learner):
    """Tournament selection among all observations, then mutation."""

    purpose = 12

    def wanted(self, seen: list[Seen], generator: np.random.Generator) -> Place:
        """Where a child of a good observation lies."""
        competitors = [seen[below(generator, len(seen))] for _ in range(TOURNAMENT)]
        parent = max(competitors, key=lambda one: one.standing).place
        return _mutated(parent, self.shell.coordinates.blocks, generator)


def _mutated(parent: Place, blocks: tuple[str, ...], generator: np.random.Generator) -> Place:
    count = len(parent.numbers)
    step = REACH * (2 * _uniform(generator, count) - 1)
    numbers = parent.numbers + step * (_uniform(generator, count) < CHANGED)
    is_new = below(generator, OTHER_BLOCK) == 0
    block = blocks[below(generator, len(blocks))] if is_new else parent.block
    return Place(block=block, numbers=np.clip(numbers, 0, 1))


def _uniform(generator: np.random.Generator, count: int) -> Points:
    uniform: Points = raw_words(generator, count) / 2.0**32
    return uniform
