"""Interface of strategies, random search, and the common part of strategies that learn."""

from abc import ABC, abstractmethod
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import ClassVar, Protocol

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata

from nas.strategies.coordinates import Point
from nas.strategies.shell import Shell
from search_spaces.architecture import Architecture
from search_spaces.checks import require_integer, require_number
from search_spaces.errors import ConfigError
from search_spaces.randomness import seeded_generator

STARTUP = 10  # observations before a strategy learns


@dataclass(frozen=True, kw_only=True)
class Observation:
    """A trained candidate.

    Attributes:
        architecture: the trained architecture.
        hard: its hard AP, a fraction of 1.
        source: name of another search, empty for this one. Hard APs are compared within one
            source only.
    """

    architecture: Architecture
    hard: float
    source: str = ""

    def __post_init__(self) -> None:
        object.__setattr__(self, "hard", require_number(self.hard, "an observed hard AP", 0, 1))
        if not isinstance(self.source, str):
            raise ConfigError(f"an observation's source must be text, got {self.source!r}")


class Strategy(Protocol):
    """Proposes one new candidate at a time, with FLOPs within the tolerance.

    Equal seeds, observations (in the same order), known hashes and numbers give the same
    candidate in any process, so that a search that was killed continues identically.
    """

    def ask(
        self, observations: Sequence[Observation], known: Collection[str], number: int
    ) -> Architecture:
        """Return one more candidate.

        Args:
            observations: finished trials of this search and of others. Those outside of the
                space are ignored.
            known: content hashes that must not be proposed: all candidates of this search.
            number: number of the candidate in the search, from 1. Candidates that are chosen
                after the same observations differ by it.

        Returns:
            An architecture that is not known, within the tolerance of the FLOPs target by the
            closed form.

        Raises:
            ConfigError: `number` is not a positive integer.
            InfeasibleError: every architecture that satisfies the constraints is known.
        """


class RandomSearch:
    """Proposes candidate N of the seed's sample, or the next one that is new."""

    def __init__(self, shell: Shell) -> None:
        self._shell = shell

    def ask(
        self, observations: Sequence[Observation], known: Collection[str], number: int
    ) -> Architecture:
        """See `Strategy.ask`."""
        return self._shell.from_number(number, known)


@dataclass(frozen=True, kw_only=True)
class Seen:
    """An observation in coordinates, with its standing from 0 to 1 (see `standings`)."""

    point: Point
    standing: float


class Learner(ABC):
    """Random search until `STARTUP` observations are in the space, then a learned choice.

    Args:
        shell: the architectures to choose from.
        seed: seed of all random choices.
    """

    purpose: ClassVar[int]  # 0 to 99, selects the learner's random streams

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
    def wanted(self, seen: list[Seen], generator: np.random.Generator) -> Point:
        """Return the desired coordinates; the nearest architecture is proposed."""

    def _seen(self, observations: Sequence[Observation]) -> list[Seen]:
        """Return the observations in the space."""
        if not observations:
            return []
        axes = self.shell.coordinates
        pairs = zip(observations, standings(observations), strict=True)
        return [
            Seen(point=point, standing=float(standing))
            for observation, standing in pairs
            if (point := axes.point_of(observation.architecture)) is not None
        ]


def standings(observations: Sequence[Observation]) -> NDArray[np.float64]:
    """Return the relative rank of each observation within its source, (N,) in (0, 1), best 1.

    The rank is (rank - 0.5) / n, with mean ranks for ties. Only the order within a source
    counts: hard APs of another budget, data set or schedule are on another scale.
    """
    sources = np.array([observation.source for observation in observations], dtype=object)
    hard = np.array([observation.hard for observation in observations], dtype=np.float64)
    found = np.zeros(len(hard))
    for source in dict.fromkeys(sources):
        own = sources == source
        found[own] = (rankdata(hard[own]) - 0.5) / own.sum()
    return found
