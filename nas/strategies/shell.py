"""FLOPs shell of a stage: a sampled list of architectures that satisfy all constraints.

A space has up to billions of them. A strategy proposes the nearest one of some thousands to the
coordinates that it wants, so that every proposal is within the tolerance by the closed form.
"""

from collections.abc import Callable, Collection, Sequence
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from nas.strategies.coordinates import Coordinates, Point
from search_spaces.architecture import Architecture
from search_spaces.checks import require_integer
from search_spaces.errors import InfeasibleError

LISTED = 16_384  # sampled once a search: in stage 1 about 2 s, in stage 2 up to 10 s
_FIRST = 256  # least size of a sample, which takes no longer than one architecture
_OTHER_BLOCK = 1.0  # squared distance between kinds of block; a number's range is 1

Sampler = Callable[[int], Sequence[Architecture]]


class Shell:
    """Distinct architectures in the order of a sampler.

    Args:
        sample: returns a given number of architectures, or all if there are fewer; a larger
            number gives the same ones first. Raises InfeasibleError if there is none.
        listed: number of architectures to choose from; more are sampled only when all of them
            are known.
    """

    def __init__(self, sample: Sampler, listed: int = LISTED) -> None:
        self._sample = sample
        self._listed = require_integer(listed, "the number of architectures to choose from", 1)
        self._members: Sequence[Architecture] = ()
        self._complete = False

    @cached_property
    def coordinates(self) -> Coordinates:
        """Axes of the listed architectures."""
        return Coordinates.along(self._at_least(self._listed)[: self._listed])

    def from_number(self, number: int, known: Collection[str]) -> Architecture:
        """Return the architecture with a number (from 1), or the next one that is not known.

        Raises:
            ConfigError: the number is not a positive integer.
            InfeasibleError: all are known.
        """
        index = require_integer(number, "the number of a candidate", 1) - 1
        while True:
            members = self._at_least(index + 1)
            if index >= len(members):
                return self._first_new(members, known)
            if members[index].content_hash not in known:
                return members[index]
            index += 1

    def nearest(self, wanted: Point, known: Collection[str]) -> Architecture:
        """Return the unknown listed architecture that is nearest to the wanted coordinates.

        Raises:
            InfeasibleError: all are known, including those that are not listed.
        """
        members = self._at_least(self._listed)
        order: list[int] = np.argsort(self.distances(wanted), kind="stable").tolist()
        for index in order:
            if members[index].content_hash not in known:
                return members[index]
        return self.from_number(self._listed + 1, known)

    def distances(self, wanted: Point) -> NDArray[np.float64]:
        """Return the distances to the listed architectures, (N,)."""
        numbers, blocks = self._table
        squares = ((numbers - wanted.numbers) ** 2).sum(axis=1)
        other: NDArray[np.float64] = np.sqrt(squares + _OTHER_BLOCK * (blocks != wanted.block))
        return other

    @cached_property
    def _table(self) -> tuple[NDArray[np.float64], NDArray[np.str_]]:
        members = self._at_least(self._listed)[: self._listed]
        points = [self.coordinates.point_of(member) for member in members]
        found = [point for point in points if point is not None]
        return np.stack([p.numbers for p in found]), np.array([p.block for p in found])

    def _at_least(self, count: int) -> Sequence[Architecture]:
        """Return at least `count` members, or all if there are fewer."""
        if len(self._members) < count and not self._complete:
            wanted = max(count, _FIRST, 2 * len(self._members))
            self._members = self._sample(wanted)
            self._complete = len(self._members) < wanted
        return self._members

    def _first_new(self, members: Sequence[Architecture], known: Collection[str]) -> Architecture:
        for member in members:
            if member.content_hash not in known:
                return member
        raise InfeasibleError(
            f"all {len(members)} architectures that satisfy the constraints are candidates "
            "already: ask for fewer, or relax the constraints"
        )
