import math
from pathlib import Path
from typing import Any

import pytest
from fake_recordings import NINE, constant, make_recording

from nas.early_stopping.evaluations import default_evaluations
from nas.early_stopping.schedule import Schedule
from nas.planning.methods import complete_rungs_method, describe_rungs, methods
from nas.planning.options import SimulationOptions
from nas.planning.recording import Recording, load_recording, splice
from nas.planning.simulation import Quartiles, replay_method, simulate
from search_spaces.errors import ConfigError

SEARCH = Path(__file__).parents[3] / "benchmarks/data/search_0.5g_photos_stage1.csv"


def random(**more: Any) -> SimulationOptions:
    return SimulationOptions(strategy=("random",), **more)


FIFO = random(scheduler=("fifo",))


def same(value: float) -> Quartiles:
    return Quartiles(lower=value, median=value, upper=value)


def quartiles(lower: float, median: float, upper: float) -> Quartiles:
    return Quartiles(lower=lower, median=median, upper=upper)


def test_the_replays_of_a_real_search_keep_their_figures() -> None:
    # docs/LOG.md, 2026-11-23: 24 candidates of 9 epochs, two trials at a time.
    recording, _ = load_recording(SEARCH, 1)
    fifo, asha = simulate(recording, (), random(slots=2)).summaries
    assert (fifo.epochs_within_margin, fifo.epochs_at_end) == (quartiles(54, 108, 162), same(216))
    assert (asha.epochs_within_margin, asha.epochs_at_end) == (
        quartiles(37, 55, 69),
        quartiles(64, 74, 86),
    )


def test_early_stopping_loses_where_curves_cross() -> None:
    hard = {}
    for n in range(1, 10):  # the first after epoch 1 is the last in the end
        hard[n] = {e: (0.9 - 0.05 * n if e == 1 else 0.05 * n) for e in range(1, 10)}
    options = random(repeats=50, margin=0.001)
    fifo, asha = simulate(make_recording(hard), (), options).summaries
    assert (fifo.hard_at_end, fifo.reached_margin) == (same(0.45), 1.0)
    assert asha.hard_at_end.median < 0.45
    assert asha.reached_margin < 0.5
    assert asha.epochs_at_end.median < fifo.epochs_at_end.median == 81


def test_random_search_finds_the_best_as_often_as_expected() -> None:
    # The best of 5 is at each place of the order with probability 1/5: among the first 2 in
    # 0.4, the first 3 in 0.6, the first 4 in 0.8 of the replays.
    (method,) = methods(constant([0.1, 0.2, 0.3, 0.4, 0.5], epochs=2), FIFO)
    found = replay_method(method, random(repeats=1000))
    assert found.epochs_within_margin == quartiles(4, 6, 8)
    assert found.hard_at[1 / 8] == same(-math.inf)  # one epoch: none is finished
    assert found.hard_at[1 / 4] == quartiles(0.2, 0.3, 0.4)  # two epochs: one random candidate
    assert found.hard_at[1.0] == found.hard_at_end == same(0.5)
    assert found.epochs_at_end == same(10)
    shown = found.to_dict()["hard_at"]
    assert shown[0] == {"share": 1 / 8, "lower": None, "median": None, "upper": None}
    assert shown[1] == {"share": 1 / 4, "lower": 0.2, "median": 0.3, "upper": 0.4}


def test_the_seed_gives_the_orders_which_all_methods_share() -> None:
    (method,) = methods(constant([0.01 * n for n in range(1, 25)], epochs=3), FIFO)
    first = replay_method(method, random(repeats=20, seed=1))
    assert replay_method(method, random(repeats=20, seed=1)) == first
    assert replay_method(method, random(repeats=20, seed=2)) != first


def test_quartiles_are_observed_values_and_bear_infinities() -> None:
    assert Quartiles.of([4.0, 1.0, 3.0, 2.0]) == quartiles(1.0, 2.0, 3.0)
    assert Quartiles.of([math.inf, 1.0, math.inf, 2.0]) == quartiles(1.0, 2.0, math.inf)
    assert Quartiles.of([0.5]) == same(0.5)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"repeats": 0}, "repeats must be an integer of at least 1, got 0"),
        ({"seed": -1}, "seed must be an integer of at least 0, got -1"),
        ({"margin": 2.0}, "margin must be a finite number from 0 to 1, got 2.0"),
        ({"slots": 0}, "slots must be an integer of at least 1, got 0"),
    ],
)
def test_values_out_of_range_are_refused(changed: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        SimulationOptions(**changed)


def test_all_is_every_name_and_each_can_be_replayed() -> None:
    recording = constant([0.01 * n for n in range(1, 13)])
    found = simulate(recording, (), SimulationOptions(strategy=("all",), repeats=1)).summaries
    assert [(summary.strategy, summary.scheduler) for summary in found] == [
        (strategy, scheduler)
        for strategy in ("random", "tpe", "evolution")
        for scheduler in ("fifo", "asha")
    ]
    for summary in found:
        assert 0 < summary.epochs_at_end.median <= recording.total_epochs
        if summary.scheduler == "fifo":
            assert summary.hard_at_end == same(0.12)


@pytest.mark.parametrize("strategy", ["tpe", "evolution"])
def test_a_strategy_takes_each_candidate_once_and_begins_in_the_given_order(strategy: str) -> None:
    recording = constant([0.01 * n for n in range(1, 17)], epochs=1)
    order = tuple((7 * n) % 16 + 1 for n in range(16))
    (method,) = methods(recording, SimulationOptions(strategy=(strategy,), scheduler=("fifo",)))
    taken = [number for _, number in method.replay(order, 3, slots=1).finished]
    assert sorted(taken) == list(range(1, 17))
    assert taken[:10] == list(order[:10])  # it has nothing to learn from yet
    assert method.replay(order, 3, slots=1) == method.replay(order, 3, slots=1)


@pytest.mark.parametrize("strategy", ["tpe", "evolution"])
def test_a_strategy_that_learns_finds_the_end_of_a_slope_before_random_search(
    strategy: str,
) -> None:
    # Candidates differ in one depth, and the deepest is the best.
    recording = constant([0.01 * n for n in range(1, 31)], epochs=1)
    options = SimulationOptions(strategy=("random", strategy), scheduler=("fifo",), repeats=20)
    unguided, learning = simulate(recording, (), options).summaries
    assert learning.epochs_within_margin.median < unguided.epochs_within_margin.median
    assert learning.epochs_within_margin.upper < unguided.epochs_within_margin.upper


def test_methods_that_cannot_be_replayed_are_refused() -> None:
    with pytest.raises(ConfigError, match="strategy must be one of"):
        SimulationOptions(strategy=("bayes",))
    with pytest.raises(ConfigError, match="'median' was removed"):
        methods(NINE, random(scheduler=("median",)))
    with pytest.raises(ConfigError, match=r"asha decides after epochs \[1\]"):
        methods(recorded(3, 9), random(grace_epochs=1))
    with pytest.raises(ConfigError, match=r"asha decides after epochs \[1, 3\]"):
        methods(recorded(9), random(scheduler=("asha",)))


def recorded(*epochs: int) -> Recording:
    """Return two candidates that were evaluated after these epochs."""
    return make_recording({n: dict.fromkeys(epochs, 0.1 * n) for n in (1, 2)})


@pytest.mark.parametrize(
    ("epochs", "rungs", "said"),
    [
        ((1, 3, 9), [(), (1, 3)], "asha: rungs after epochs 1, 3"),
        (
            (3, 6, 9),
            [(), (3,)],
            "asha: rungs after epochs 3, as with --grace-epochs 3: not every candidate was "
            "evaluated after 1",
        ),
        (
            (1, 5, 9),
            [(), (5,)],
            "asha: rungs after epochs 5, as with --grace-epochs 5: not every candidate was "
            "evaluated after 3",
        ),
        (
            (9,),
            [()],
            "asha is left out: not every candidate was evaluated after 1, 3 (use --eval-every 1)",
        ),
    ],
)
def test_asha_is_replayed_from_the_first_rung_that_was_evaluated(
    epochs: tuple[int, ...], rungs: list[tuple[int, ...]], said: str
) -> None:
    found = methods(recorded(*epochs), random())
    assert [method.schedule.milestones for method in found] == rungs
    (line,) = describe_rungs(recorded(*epochs), random())
    assert line == said


def test_default_evaluations_suffice_for_a_replay() -> None:
    for epochs in (4, 5, 9, 12, 30, 80):
        evaluated = default_evaluations(Schedule(epochs=epochs), 12_880, 3226)
        asha = methods(recorded(*evaluated, epochs), random(scheduler=("asha",)))
        assert set(asha[0].schedule.milestones) <= set(evaluated)


def test_complete_rungs_rank_by_the_short_schedules() -> None:
    # The short schedules have the final order, the whole one's epochs 1 and 3 the opposite.
    misleading = make_recording(
        {n: {e: (0.5 - 0.1 * n if e < 9 else 0.1 * n) for e in range(1, 10)} for n in (1, 2, 3)}
    )
    short = [constant([0.1, 0.2, 0.3], epochs=epochs) for epochs in (1, 3)]
    _, spliced = splice(misleading, short)
    method = complete_rungs_method(spliced, (1, 3), random())
    assert method.replay((1, 2, 3), 0, slots=1).finished == ((11, 3),)  # 3 x 1, 2, 6
    with pytest.raises(ConfigError, match=r"schedules of \[3\] epochs too"):
        complete_rungs_method(spliced, (1,), random())
