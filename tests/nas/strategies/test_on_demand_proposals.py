"""Choice of candidates while a search runs."""

from pathlib import Path

import pytest
from fake_trials import make_request
from tiny import make_result

from nas.candidates.flops import confirm_flops
from nas.candidates.proposals import propose
from nas.search.directory import SearchDir
from nas.search.request import AnyRequest, Stage1Request
from nas.strategies.on_demand_proposals import asking
from search_spaces.architecture import Architecture, save_architecture
from search_spaces.errors import ConfigError
from trials.result import Outcome, TrialFailure, TrialStopped, save_outcome

FLOPS = 10**9
NUM = 12  # more than a strategy needs before it learns


def request_of(**options: object) -> Stage1Request:
    return make_request(flops=FLOPS, num_candidates=NUM, **options)


@pytest.fixture(scope="module")
def candidates() -> dict[int, Architecture]:
    return dict(enumerate(propose(request_of()).architectures, start=1))


def deepest_is_best(candidates: dict[int, Architecture]) -> dict[int, Outcome]:
    return {n: make_result(sum(a.backbone.depths) / 100, 80) for n, a in candidates.items()}


def ask(request: AnyRequest, candidates: dict[int, Architecture], outcomes: object) -> Architecture:
    strategy = asking(request, None)
    assert strategy is not None
    return strategy(candidates, outcomes, len(candidates) + 1)  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ["tpe", "evolution"])
def test_choice_is_new_within_tolerance_and_repeatable(
    candidates: dict[int, Architecture], name: str
) -> None:
    request = request_of(strategy=name)
    outcomes = deepest_is_best(candidates)
    chosen = ask(request, candidates, outcomes)
    assert chosen not in candidates.values()
    assert abs(confirm_flops(chosen) / FLOPS - 1) <= 0.02
    assert ask(request, candidates, dict(reversed(outcomes.items()))) == chosen


def test_strategy_learns_from_finished_trials_only(candidates: dict[int, Architecture]) -> None:
    request = request_of(strategy="tpe")
    stopped = TrialStopped(epoch=3, epochs=80, hard=0.9, reason="by the scheduler")
    ended: dict[int, Outcome] = dict.fromkeys(candidates, stopped)
    ended[1] = TrialFailure(reason="no")
    assert ask(request, candidates, ended) == ask(request, candidates, {})


def test_warm_start_learns_from_another_search(
    candidates: dict[int, Architecture], tmp_path: Path
) -> None:
    other = SearchDir(tmp_path / "other")
    other.write_request(request_of())
    for number, outcome in deepest_is_best(candidates).items():
        save_architecture(candidates[number], other.architecture_file(1, number))
        save_outcome(outcome, other.trial_folder(1, number))
    alone = request_of(strategy="evolution")
    warm = request_of(strategy="evolution", warm_start=str(other.root))
    own = {1: candidates[1]}
    assert ask(warm, own, {}) != ask(alone, own, {})
    assert ask(warm, own, {}) == ask(warm, own, {})
    with pytest.raises(ConfigError, match="holds no search"):
        asking(request_of(strategy="tpe", warm_start=str(tmp_path)), None)
    assert asking(request_of(), None) is None  # random search chooses nothing on demand
