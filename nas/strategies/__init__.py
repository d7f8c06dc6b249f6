"""Strategies that choose candidates.

`random` proposes without learning; `tpe` and `evolution` learn from finished trials. All
choose from a `Shell`, a list of architectures that satisfy the constraints by the closed form,
so that no proposal is rejected.
"""

from dataclasses import replace

from nas.candidates.pool import sample_pool
from nas.search.request import AnyRequest
from nas.strategies.evolution import Evolution
from nas.strategies.shell import Shell
from nas.strategies.strategy import Observation, RandomSearch, Strategy
from nas.strategies.tpe import TPE
from search_spaces.architecture import Architecture

__all__ = ["Observation", "Shell", "Strategy", "make_strategy", "stage_shell"]


def make_strategy(
    request: AnyRequest, template: Architecture | None = None, shell: Shell | None = None
) -> Strategy:
    """Return the strategy of a stage's request; `template` is for stage 2 only.

    It chooses from `shell`; None: from all architectures within the FLOPs tolerance.

    The space is sampled once, at the first call of `ask`, which raises ConfigError or
    InfeasibleError as `nas.candidates.pool` does.
    """
    shell = shell or stage_shell(request, template)
    if request.strategy == "random":
        return RandomSearch(shell)
    learner = TPE if request.strategy == "tpe" else Evolution
    return learner(shell, request.seed)


def stage_shell(request: AnyRequest, template: Architecture | None = None) -> Shell:
    """Return the shell of a stage's request, in the order of random search."""

    def sample(count: int) -> tuple[Architecture, ...]:
        return sample_pool(replace(request, num_candidates=count), template).architectures

    return Shell(sample)
