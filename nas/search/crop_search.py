"""Search of the probabilities of the crop scales in training, for one fixed network.

The size of a crop decides the size of its faces, so that the probabilities decide how many
positive anchors each level of the network learns from. The SCRFD paper (arXiv 2105.04714,
"sample redistribution") searches them; its released code draws all scales alike.

Candidate 1 is the unchanged recipe, for comparison. The others are drawn from
Dirichlet(1, ..., 1): every distribution over the scales is equally likely.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

from search_spaces.randomness import seeded_generator
from trials.recipe import Recipe

_PURPOSE = 1 << 32  # first of the random streams, one for each candidate
_DIGITS = 4  # for readable recipes; a share of 0.0001 is no crop in most trainings


def redistributed(recipe: Mapping[str, Any], seed: int, number: int) -> dict[str, Any]:
    """Return the recipe of candidate `number`: unchanged for 1, else with new `crop_weights`."""
    if number == 1:
        return dict(recipe)
    return {**recipe, "crop_weights": draw_weights(seed, number, len(recipe["crop_scales"]))}


def draw_weights(seed: int, number: int, scales: int) -> list[float]:
    """Return `scales` random shares with a sum of about 1, the same on every machine."""
    words = seeded_generator(seed, _PURPOSE + number).bit_generator.random_raw(scales)
    uniform = ((words >> np.uint64(11)).astype(np.float64) + 0.5) * 2.0**-53
    waiting = -np.log(uniform)  # independent exponential times, as parts of their sum
    return [round(float(share), _DIGITS) for share in waiting / waiting.sum()]


def crop_shares(recipe: Mapping[str, Any]) -> dict[float, float]:
    """Return the probability of each crop scale under a recipe, in the recipe's order."""
    given = Recipe.from_dict(recipe)
    count = len(given.crop_scales)
    chances = given.crop_probabilities or (1 / count,) * count
    shares = dict.fromkeys(given.crop_scales, 0.0)
    for scale, chance in zip(given.crop_scales, chances, strict=True):  # a scale may occur twice
        shares[scale] += chance
    return shares
