"""What strategies that learn have in common: random at first, then where they want to be."""

from abc import ABC, abstractmethod
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from nas.strategies.coordinates import Place
from nas.strategies.observation import Observation, standings
from nas.strategies.shell import Shell
from search_spaces.architecture import Architecture
from search_spaces.checks import require_integer
from search_spaces.randomness import seeded_generator

STARTUP = 10  # observations before there is something to learn


@dataclass(frozen=True, kw_only=True)
class Seen:
    """An observation as a learner sees it: where it lies, and how it stands (0 to 1)."""

    place: Place
    standing: float


class Learner(ABC):
    """Random search until `STARTUP` observations lie in the space, then `wanted`.

    Args:
        shell: what may be proposed.
        seed: of all that is random.
    """

    purpose: ClassVar[int]  # 0 to 99, of the learner's random streams

    def __init__(self, shell: Shell, seed: int) -> None:
        self.shell = shell
        self._seed = require_integer(seed, "the seed", 0)

    def ask(
        self, observations: Sequence[Observation], known: Collection[str], number: int
    ) -> Architecture:
        """See `Strategy.ask`."""
        number = require_integer(number, "the number of a candidate", 1)
        seen = self._seen(observations)
        if len(seen) < STARTUP:
            return self.shell.from_number(number, known)
        generator = seeded_generator(self._seed, 100 * number + self.purpose)
        return self.shell.nearest(self.wanted(seen, generator), known)

    @abstractmethod
    def wanted(self, seen: list[Seen], generator: np.random.Generator) -> Place:
        """Where the next candidate should lie, on the shell or near it."""

    def _seen(self, observations: Sequence[Observation]) -> list[Seen]:
        """The observations that lie in the space."""
        if not observations:
            return []
        axes = self.shell.coordinates
        pairs = zip(observations, standings(observations), strict=True)
        return [
            Seen(place=place, standing=float(standing))
            for observation, standing in pairs
            if (place := axes.place(observation.architecture)) is not None
        ]
