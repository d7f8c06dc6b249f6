"""Choose candidates while a search runs, from the results so far.

Strategies learn from finished trials only: the AP of a stopped trial was reached after fewer
epochs, and a failed trial has none.
"""

from collections.abc import Callable, Mapping

from nas.search.directory import find_search_dir
from nas.search.request import AnyRequest
from nas.search.resolve_url import search_path
from nas.strategies.shell import Shell
from search_spaces.architecture import Architecture
from search_spaces.cost.constraints import flops_window
from trials.result import Outcome, TrialResult

# Chooses a candidate from the candidates so far by number, the outcomes of those that have ended,
# and the number of the new one. Raises InfeasibleError if there is none.
Ask = Callable[[Mapping[int, Architecture], Mapping[int, Outcome], int], Architecture]


def asking(
    request: AnyRequest, template: Architecture | None, shell: Shell | None = None
) -> Ask | None:
    """Return the request's strategy as a function; None for `random`, which proposes all at once.

    It chooses from `shell` (see `nas.strategies.make_strategy`).

    Raises:
        ConfigError: `warm_start` holds no search.
    """
    if request.strategy == "random":
        return None
    from nas.candidates.flops import confirm_within
    from nas.strategies import Observation, make_strategy

    strategy = make_strategy(request, template, shell)
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
        chosen = strategy.ask([*others, *own], known, number)
        confirm_within(chosen, flops_window(request.flops, request.tolerance))
        return chosen

    return ask


def _finished(outcomes: Mapping[int, Outcome]) -> dict[int, float]:
    """Return hard APs in the order of the candidates, not of their ends."""
    found = {n: o.hard for n, o in outcomes.items() if isinstance(o, TrialResult)}
    return dict(sorted(found.items()))


def _finished_elsewhere(request: AnyRequest) -> list[tuple[Architecture, float]]:
    if request.warm_start is None:
        return []
    directory = find_search_dir(search_path(request.warm_start))
    architectures = directory.candidates(request.stage)
    hards = _finished(directory.outcomes(request.stage))
    return [(architectures[number], hard) for number, hard in hards.items()]
