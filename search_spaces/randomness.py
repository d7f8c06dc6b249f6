"""Random numbers that are equal on every machine and with every version of numpy.

numpy guarantees the raw stream of a bit generator, but not the results of `Generator`'s
methods. Therefore only raw 64-bit words are used, with integer arithmetic.
"""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

WORD = 1 << 64


def seeded_generator(seed: int, purpose: int = 0) -> np.random.Generator:
    """Return a PCG64 generator; streams of different `purpose` are independent."""
    return np.random.Generator(np.random.PCG64(np.random.SeedSequence([seed, purpose])))


def raw_words(generator: np.random.Generator, count: int) -> NDArray[np.int64]:
    """Return `count` uniform integers from 0 to 2**32 - 1 (the upper halves of raw words)."""
    words: NDArray[np.uint64] = generator.bit_generator.random_raw(count)
    return (words >> np.uint64(32)).astype(np.int64)


def below(generator: np.random.Generator, bound: int) -> int:
    """Return an exactly uniform integer from 0 to bound - 1, for any bound up to 2**64."""
    usable = WORD - WORD % bound
    while True:  # more than half of all words are usable
        word = int(generator.bit_generator.random_raw())
        if word < usable:
            return word % bound


def shuffled(generator: np.random.Generator, total: int) -> Iterator[int]:
    """Yield 0 .. total - 1 in uniform random order, in little memory (sparse Fisher-Yates).

    The order depends only on the generator and `total`, so a longer prefix begins with the
    same numbers.
    """
    moved: dict[int, int] = {}
    for position in range(total):
        other = position + below(generator, total - position)
        chosen = moved.pop(other, other)
        if other != position:
            moved[other] = moved.pop(position, position)
        yield chosen


def weighted_order(
    generator: np.random.Generator, weights: NDArray[np.float64]
) -> NDArray[np.int64]:
    """Return indices in the order of drawing without replacement, in proportion to `weights`.

    Item i gets an exponential time of rate weights[i], and items are sorted by time (Efraimidis
    and Spirakis 2006). Rejection sampling finds new items in the same order.
    """
    words = generator.bit_generator.random_raw(len(weights))
    uniform = ((words >> np.uint64(11)).astype(np.float64) + 0.5) * 2.0**-53
    return np.argsort(-np.log(uniform) / weights, kind="stable")
