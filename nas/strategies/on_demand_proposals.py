"""Candidates chosen while a search runs, from what its trials have come to so far.

A strategy learns from finished trials alone: an AP after few epochs is none after many, and
a failed trial has none.
"""

from collections.abc import Callable, Mapping

from nas.search.directory import find_search_dir
from nas.search.request import AnyRequest
from nas.search.resolve_url import search_path
from search_spaces.architecture import Architecture
from search_spaces.cost.constraints import flops_window
from search_spaces.errors import ScrfdNasError
from trials.result import Outcome, TrialResult

# Chooses one more: from the candidates so far by number, the outcomes of those that have
# ended, and the number that it will have. Raises InfeasibleError where there is none.
Ask = Callable[[Mapping[int, Architecture], Mapping[int, Outcome], int], Architecture]


def asking(request: AnyRequest, template: Architecture | None) -> Ask | None:
    """How the request's strategy is asked; None for `random`, which proposes all at once.

    Raises:
        ConfigError: `warm_start` holds no search.
    """
    if request.strategy == "random":
        return None
    from nas.strategies import Observation, make_strategy

    strategy = make_strategy(request, template)
    others = [
        Observation(architecture=architecture, hard=hard, source=str(request.warm_start))
        for architecture, hard in _finished_elsewhere(request)
    ]

    def ask(
        architectures: Mapping[int, Architecture], outcomes: Mapping[int, Outcome], number: int
    ) -> Architecture:
        own = [
            Observation(architecture=architectures[n], hard=hard)
            for n, hard in _finished(outcomes).items()
        ]
        known = {architecture.content_hash for architecture in architectures.values()}
        return _confirmed(strategy.ask([*others, *own], known, number), request)

    return ask


def _finished(outcomes: Mapping[int, Outcome]) -> dict[int, float]:
    """Hard APs in the order of the candidates, whatever the order in which they ended."""
    found = {n: o.hard for n, o in outcomes.items() if isinstance(o, TrialResult)}
    return dict(sorted(found.items()))


def _finished_elsewhere(request: AnyRequest) -> list[tuple[Architecture, float]]:
    if request.warm_start is None:
        return []
    directory = find_search_dir(search_path(request.warm_start))
    architectures = directory.candidates(request.stage)
    hards = _finished(directory.outcomes(request.stage))
    return [(architectures[number], hard) for number, hard in hards.items()]


def _confirmed(architecture: Architecture, request: AnyRequest) -> Architecture:
    """The architecture, when fvcore has counted it. Raises ScrfdNasError: it disagrees."""
    from nas.candidates.flops import confirm_flops

    low, high = flops_window(request.flops, request.tolerance)
    counted = confirm_flops(architecture)
    if not low <= counted <= high:
        raise ScrfdNasError(
            f"the chosen candidate has {counted} FLOPs, outside of {low} to {high}; "
            "this is a fault of the program, please report it"
        )
    return architecture
