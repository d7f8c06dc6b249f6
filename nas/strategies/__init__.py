"""What chooses candidates from what has been learnt, always on the FLOPs shell.

`random` proposes without learning; `tpe` and `evolution` learn from finished trials. All
take their candidates from a `Shell`, a list of architectures that satisfy the constraints by
the closed form, so nothing that they propose is thrown away.
"""

from dataclasses import replace

from nas.candidates.pool import sample_pool
from nas.search.request import AnyRequest
from nas.strategies.evolution import Evolution
from nas.strategies.observation import Observation, Strategy
from nas.strategies.random_search import RandomSearch
from nas.strategies.shell import Shell
from nas.strategies.tpe import TPE
from search_spaces.architecture import Architecture

__all__ = ["Observation", "Shell", "Strategy", "make_strategy", "stage_shell"]


def make_strategy(request: AnyRequest, template: Architecture | None = None) -> Strategy:
    """The strategy that a stage's request names; `template` for stage 2 only.

    It samples nothing before it is asked, and then once.

    Raises:
        ConfigError, InfeasibleError: when it is asked first; see `nas.candidates.pool`.
    """
    shell = stage_shell(request, template)
    if request.strategy == "random":
        return RandomSearch(shell)
    learner = TPE if request.strategy == "tpe" else Evolution
    return learner(shell, request.seed)


def stage_shell(request: AnyRequest, template: Architecture | None = None) -> Shell:
    """What a stage may try, in the order in which random search would."""

    def sample(count: int) -> tuple[Architecture, ...]:
        return sample_pool(replace(request, num_candidates=count), template).architectures

    return Shell(sample)
