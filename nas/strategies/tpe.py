"""TPE: Optuna's tree-structured Parzen estimator on the FLOPs shell.

The estimator (Bergstra et al., NeurIPS 2011) models the densities of the better and of the
other observations, and suggests coordinates that are likelier under the first one. It ignores
FLOPs: of several suggestions, the one nearest to an architecture of the shell is chosen.
"""

import logging
import warnings
from typing import Any

import numpy as np
import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution
from optuna.trial import FrozenTrial, create_trial

from nas.strategies.coordinates import Coordinates, Point
from nas.strategies.strategy import Learner, Seen
from search_spaces.randomness import below

optuna.logging.set_verbosity(logging.ERROR)

SUGGESTIONS = 4  # 5 to 10 ms each
_BLOCK = "block"


class TPE(Learner):
    """Optuna's TPESampler on the observations, all numbers in one model (multivariate)."""

    purpose = 11

    def wanted(self, seen: list[Seen], generator: np.random.Generator) -> Point:
        """Return the suggestion that is nearest to an architecture."""
        axes = self.shell.coordinates
        study = optuna.create_study(direction="maximize", sampler=_sampler(generator))
        study.add_trials([_trial(one, axes) for one in seen])
        asked = [study.ask(_distributions(axes)).params for _ in range(SUGGESTIONS)]
        points = [_point(parameters, axes) for parameters in asked]
        return min(points, key=lambda point: float(self.shell.distances(point).min()))


def _sampler(generator: np.random.Generator) -> optuna.samplers.TPESampler:
    with warnings.catch_warnings():
        # Some versions of Optuna mark the multivariate model as experimental.
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        return optuna.samplers.TPESampler(
            seed=below(generator, 1 << 32), multivariate=True, n_startup_trials=0
        )


def _trial(seen: Seen, axes: Coordinates) -> FrozenTrial:
    parameters: dict[str, Any] = dict(zip(axes.names, seen.point.numbers.tolist(), strict=True))
    distributions = _distributions(axes)
    if _BLOCK in distributions:
        parameters[_BLOCK] = seen.point.block
    return create_trial(params=parameters, distributions=distributions, value=seen.standing)


def _distributions(axes: Coordinates) -> dict[str, BaseDistribution]:
    found: dict[str, BaseDistribution] = {name: FloatDistribution(0, 1) for name in axes.names}
    if len(axes.blocks) > 1:
        found[_BLOCK] = CategoricalDistribution(axes.blocks)
    return found


def _point(parameters: dict[str, Any], axes: Coordinates) -> Point:
    numbers = np.array([parameters[name] for name in axes.names], dtype=np.float64)
    return Point(block=parameters.get(_BLOCK, axes.blocks[0]), numbers=numbers)
