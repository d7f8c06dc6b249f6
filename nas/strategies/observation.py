"""What a strategy learns from: trained candidates, and how well each stands in its search."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata

from search_spaces.architecture import Architecture
from search_spaces.checks import require_number
from search_spaces.errors import ConfigError


@dataclass(frozen=True, kw_only=True)
class Observation:
    """A candidate that has been trained.

    Attributes:
        architecture: what was trained.
        hard: its hard AP, a fraction of 1.
        source: of which search; hard APs are compared within one source only. Empty for
            the search that asks.
    """

    architecture: Architecture
    hard: float
    source: str = ""

    def __post_init__(self) -> None:
        object.__setattr__(self, "hard", require_number(self.hard, "an observed hard AP", 0, 1))
        if not isinstance(self.source, str):
            raise ConfigError(f"an observation's source must be text, got {self.source!r}")


class Strategy(Protocol):
    """Proposes candidates one at a time, each on the FLOPs shell and new.

    The same seed, observations (in the same order), known hashes and number give the same
    candidate, in any process: a search that was killed asks again and gets what it had.
    """

    def ask(
        self, observations: Sequence[Observation], known: Collection[str], number: int
    ) -> Architecture:
        """One more candidate.

        Args:
            observations: of finished trials, of this search and of others; failed trials
                have none. Those outside the space are passed over.
            known: content hashes that must not be proposed: all candidates of this search,
                trained or not.
            number: which candidate of the search it will be, from 1. Two that are asked
                for after the same observations differ by it.

        Returns:
            An architecture within the tolerance of the FLOPs target by the closed form,
            whose hash is not in `known`. fvcore has not confirmed it yet.

        Raises:
            ConfigError: `number` is not a positive integer.
            InfeasibleError: every architecture that satisfies the constraints is known.
        """


def standings(observations: Sequence[Observation]) -> NDArray[np.float64]:
    """How each observation stands among those of its source, (N,) in (0, 1), 1 is best.

    (rank - 0.5) / n, ties sharing their mean rank. Only the order within a source counts:
    hard APs of another budget, data set or schedule say nothing on this search's scale.
    """
    sources = np.array([observation.source for observation in observations], dtype=object)
    hard = np.array([observation.hard for observation in observations], dtype=np.float64)
    found = np.zeros(len(hard))
    for source in dict.fromkeys(sources):
        own = sources == source
        found[own] = (rankdata(hard[own]) - 0.5) / own.sum()
    return found
