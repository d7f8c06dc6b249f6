import math
from collections.abc import Sequence
from typing import Any

import pytest
from fake_trials import make_architecture
from ray.tune.experiment import Trial
from ray.tune.schedulers import (
    ASHAScheduler,
    FIFOScheduler,
    HyperBandScheduler,
    MedianStoppingRule,
)

from nas.early_stopping.schedule import Schedule
from nas.planning import simulation
from nas.planning.simulation import Recording, Replay, check_rungs, recorded, replay, replay_rounds
from nas.planning.simulation_contestants import Rules, complete_contestant, contestants, judged_play
from nas.planning.simulation_study import Contestant, quartiles, rung_ranks, simulate
from reports.curves import Curve
from search_spaces.errors import ConfigError, DataError

SETTINGS = {"time_attr": "epoch", "metric": "hard", "mode": "max"}


def asha(grace: int = 1) -> ASHAScheduler:
    return ASHAScheduler(max_t=9, grace_period=grace, reduction_factor=3, **SETTINGS)


def make_recording(hard: dict[int, dict[int, float]]) -> Recording:
    return Recording(
        epochs=max(next(iter(hard.values()))),
        architectures={number: make_architecture(number) for number in hard},
        hard=hard,
    )


def constant(finals: list[float], epochs: int = 9) -> Recording:
    """Curves that do not change: candidate i has `finals[i - 1]` at every epoch."""
    curves = {n: dict.fromkeys(range(1, epochs + 1), f) for n, f in enumerate(finals, start=1)}
    return make_recording(curves)


def contestant(recording: Recording, make: Any = FIFOScheduler, choose: Any = None) -> Contestant:
    """Random search, or `choose`, with a scheduler of Ray Tune's own."""

    def play(order: Sequence[int], seed: int) -> Replay:
        return replay(recording, make(), order, choose=choose)

    return Contestant(strategy="any", scheduler="any", play=play)


NINE = constant([0.1 * n for n in range(1, 10)])  # candidate 9 is the best
RISING, FALLING = tuple(range(1, 10)), tuple(range(9, 0, -1))


def test_the_states_are_those_of_ray() -> None:
    ours = (simulation.PENDING, simulation.RUNNING, simulation.PAUSED, simulation.TERMINATED)
    assert ours == (Trial.PENDING, Trial.RUNNING, Trial.PAUSED, Trial.TERMINATED)


def test_fifo_trains_everything_in_the_given_order() -> None:
    found = replay(NINE, FIFOScheduler(), (3, 1, 9, 2))
    assert found.finished == ((9, 3), (18, 1), (27, 9), (36, 2))
    assert (found.spent, found.stopped) == (36, {})


def test_trials_in_two_slots_advance_together() -> None:
    found = replay(NINE, FIFOScheduler(), (3, 1, 9), slots=2)
    # 3 and 1 share the first 18 epochs; 9 follows alone.
    assert found.finished == ((17, 3), (18, 1), (27, 9))


def test_the_best_within_a_budget_is_the_best_that_is_finished_by_then() -> None:
    found = replay(NINE, FIFOScheduler(), (3, 9, 1))
    assert found.best_at(8, NINE) == -math.inf
    assert found.best_at(9, NINE) == found.best_at(17, NINE) == NINE.final(3)
    assert found.best_at(18, NINE) == found.best_at(1000, NINE) == NINE.final(9)
    assert found.spent_until(0.9, NINE) == 18
    assert found.spent_until(0.91, NINE) == math.inf


def test_asha_stops_nobody_who_is_better_than_all_before() -> None:
    found = replay(NINE, asha(), RISING)
    assert (found.spent, found.stopped) == (81, {})


def test_asha_stops_those_who_are_worse_than_the_best_third_at_the_first_rung() -> None:
    found = replay(NINE, asha(), FALLING)
    assert found.finished == ((9, 9),)
    assert found.stopped == dict.fromkeys(range(1, 9), 1)
    assert found.spent == 9 + 8 * 1


def test_asha_s_later_rungs_stop_too() -> None:
    # Candidates 1 to 3 climb at the first rung and stand still afterwards: at epoch 3 the
    # second and third are worse than the first.
    late = {1: 0.9, 2: 0.8, 3: 0.7}
    hard = {n: {e: (0.1 * n if e == 1 else late[n]) for e in range(1, 10)} for n in late}
    found = replay(make_recording(hard), asha(), (1, 2, 3))
    assert found.finished == ((9, 1),)
    assert found.stopped == {2: 3, 3: 3}
    assert found.spent == 9 + 3 + 3


def test_asha_leaves_trials_alone_before_the_grace_period() -> None:
    assert replay(NINE, asha(grace=3), FALLING).spent == 9 + 8 * 3


def test_hyperband_halves_each_bracket_as_published() -> None:
    recording = constant([0.05 * n for n in range(1, 18)])
    scheduler = HyperBandScheduler(max_t=9, reduction_factor=3, **SETTINGS)
    found = replay(recording, scheduler, tuple(range(1, 18)))
    # A band for 9 epochs, factor 3: 3 trials of 9 epochs; 5 of 3, of which ceil(5 / 3) = 2
    # go on to 9; 9 of 1, of which 3 go on to 3 and 1 to 9.
    assert found.spent == 3 * 9 + (5 * 3 + 2 * 6) + (9 * 1 + 3 * 2 + 1 * 6)
    assert sorted(number for _, number in found.finished) == [1, 2, 3, 7, 8, 17]
    assert sorted(n for n, epoch in found.stopped.items() if epoch == 3) == [4, 5, 6, 15, 16]
    assert sorted(n for n, epoch in found.stopped.items() if epoch == 1) == list(range(9, 15))


def test_the_median_rule_stops_what_is_worse_than_half_of_those_before() -> None:
    def rule() -> MedianStoppingRule:
        # A long time slice: trials do not make room for each other.
        return MedianStoppingRule(
            grace_period=1, min_samples_required=3, min_time_slice=100, **SETTINGS
        )

    found = replay(NINE, rule(), (5, 6, 7, 1, 9, 2))
    # 5, 6, 7 are the three samples; their median is 6's. 1 is worse at once, 9 is not, and
    # then the median of four (1 counts only at epoch 1) is above 2's too.
    assert [number for _, number in found.finished] == [5, 6, 7, 9]
    assert found.stopped == {1: 1, 2: 1}
    assert found.spent == 4 * 9 + 2


def test_a_trial_paused_after_its_last_epoch_is_not_trained_further() -> None:
    # Without a time slice the rule pauses trials after every epoch until it has samples.
    rule = MedianStoppingRule(grace_period=1, min_samples_required=3, **SETTINGS)
    found = replay(constant([0.5] * 4, epochs=3), rule, (1, 2, 3, 4))
    assert sorted(number for _, number in found.finished) == [1, 2, 3, 4]
    assert found.spent == 12


def crossing() -> Recording:
    """Who leads after epoch 1 is last in the end: 9 candidates, the last one wins."""
    hard = {}
    for n in range(1, 10):
        hard[n] = {e: (0.9 - 0.05 * n if e == 1 else 0.05 * n) for e in range(1, 10)}
    return make_recording(hard)


def test_early_stopping_loses_where_curves_cross() -> None:
    recording = crossing()
    found = replay(recording, asha(), RISING)
    # In this order each is worse at epoch 1 than all before it: only the worst survives.
    assert found.finished == ((9, 1),)
    both = [contestant(recording), contestant(recording, asha)]
    fifo, stopping = simulate(recording, both, repeats=50, margin=0.001)
    assert fifo.end == (0.45, 0.45, 0.45)
    assert fifo.reached == 1.0
    assert stopping.end[1] < 0.45
    assert stopping.reached < 0.5
    assert stopping.spent[1] < fifo.spent[1] == 81


def test_random_search_finds_the_best_as_often_as_it_must() -> None:
    # The best of 5 is at each place of the order with probability 1/5: among the first 2 in
    # 0.4, the first 3 in 0.6, the first 4 in 0.8 of the replays.
    recording = constant([0.1, 0.2, 0.3, 0.4, 0.5], epochs=2)
    (found,) = simulate(
        recording, [contestant(recording)], repeats=1000, budgets=(1 / 10, 1 / 5, 1.0)
    )
    assert found.within == (4, 6, 8)
    assert found.at[1 / 10] == (-math.inf,) * 3  # one epoch: nobody is finished
    assert found.at[1 / 5] == (0.2, 0.3, 0.4)  # two epochs: one random candidate
    assert found.at[1.0] == found.end == (0.5, 0.5, 0.5)
    assert found.spent == (10, 10, 10)
    shown = found.to_dict()["hard_at"]
    assert shown[0] == {"share": 1 / 10, "lower": None, "median": None, "upper": None}
    assert shown[1] == {"share": 1 / 5, "lower": 0.2, "median": 0.3, "upper": 0.4}


def test_a_choosing_strategy_is_asked_when_a_slot_is_free_and_sees_what_is_finished() -> None:
    asked: list[tuple[dict[int, float], tuple[int, ...]]] = []

    def choose(finished: Any, left: Any) -> int:
        asked.append((dict(finished), tuple(left)))
        return max(left)

    recording = constant([0.1, 0.2, 0.3], epochs=2)
    found = replay(recording, FIFOScheduler(), (2, 1, 3), choose=choose)
    assert [number for _, number in found.finished] == [3, 2, 1]
    assert asked == [
        ({}, (2, 1, 3)),
        ({3: 0.3}, (2, 1)),
        ({3: 0.3, 2: 0.2}, (1,)),
    ]


def test_a_perfect_strategy_needs_one_training() -> None:
    best = contestant(NINE, choose=lambda finished, left: max(left))
    (found,) = simulate(NINE, [best], repeats=3)
    assert found.within == (9, 9, 9)
    assert found.at[1 / 8] == (0.9, 0.9, 0.9)


def test_the_same_seed_gives_the_same_standings_and_another_does_not() -> None:
    recording = constant([0.01 * n for n in range(1, 25)], epochs=3)

    def run(seed: int) -> Any:
        return simulate(recording, [contestant(recording)], repeats=20, seed=seed)

    assert run(1) == run(1)
    assert run(1) != run(2)


def test_every_contestant_meets_the_same_orders() -> None:
    one = contestant(crossing())
    first, second = simulate(crossing(), [one, one], repeats=7)
    assert first == second


def test_quartiles_are_observed_values_and_bear_infinities() -> None:
    assert quartiles([4.0, 1.0, 3.0, 2.0]) == (1.0, 2.0, 3.0)
    assert quartiles([math.inf, 1.0, math.inf, 2.0]) == (1.0, 2.0, math.inf)
    assert quartiles([0.5]) == (0.5, 0.5, 0.5)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"repeats": 0}, "repeats must be an integer of at least 1, got 0"),
        ({"seed": -1}, "the seed must be an integer of at least 0, got -1"),
        ({"margin": 2.0}, "the margin must be a finite number from 0 to 1, got 2.0"),
        ({"budgets": (1.5,)}, "a budget must be a finite number from 0 to 1, got 1.5"),
    ],
)
def test_values_out_of_range_are_refused(changed: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        simulate(NINE, [contestant(NINE)], **changed)


def test_slots_are_at_least_one() -> None:
    with pytest.raises(ConfigError, match="slots must be an integer of at least 1, got 0"):
        replay(NINE, FIFOScheduler(), RISING, slots=0)
    with pytest.raises(ConfigError, match="slots must be an integer of at least 1, got 0"):
        replay_rounds(NINE, Schedule(epochs=9, scheduler="asha", rungs="complete"), (1,), slots=0)


def curve(candidate: int, hard: dict[int, float]) -> Curve:
    return Curve(candidate=candidate, architecture=make_architecture(candidate), hard=hard)


def test_unfinished_curves_are_left_out_and_named() -> None:
    curves = [curve(1, {1: 0.1, 3: 0.3}), curve(2, {1: 0.1}), curve(4, {3: 0.4}), curve(5, {})]
    recording, left_out = recorded(curves)
    assert (recording.epochs, recording.numbers, left_out) == (3, (1, 4), [2, 5])
    assert (recording.best, recording.total_epochs) == (0.4, 6)
    assert recording.evaluated() == (3,)


@pytest.mark.parametrize("curves", [[], [curve(1, {1: 0.5})], [curve(1, {}), curve(2, {})]])
def test_a_replay_needs_two_complete_curves(curves: list[Curve]) -> None:
    with pytest.raises(DataError, match="a replay needs two candidates or more"):
        recorded(curves)


def test_a_search_that_never_reached_its_last_epoch_cannot_be_replayed() -> None:
    with pytest.raises(DataError, match="0 of 2 were"):
        recorded([curve(1, {1: 0.5}), curve(2, {1: 0.5})], epochs=3)


def test_two_curves_of_a_candidate_are_refused() -> None:
    with pytest.raises(DataError, match="candidate 1 has two curves"):
        recorded([curve(1, {1: 0.5}), curve(1, {1: 0.5})])


def test_rungs_of_complete_schedules_replace_the_curve_up_to_their_end() -> None:
    whole = constant([0.1, 0.2], epochs=9)
    one, three = constant([0.6, 0.5], epochs=1), constant([0.8, 0.7], epochs=3)
    spliced = whole.with_rungs({3: three, 1: one})
    assert spliced.hard[1] == {1: 0.6, 2: 0.8, 3: 0.8, **dict.fromkeys(range(4, 10), 0.1)}
    assert spliced.final(2) == 0.2
    assert replay(spliced, asha(), (1, 2)).stopped == {2: 1}  # 0.5 after 0.6
    assert replay(whole, asha(), (1, 2)).stopped == {}


def test_short_schedules_must_be_shorter_and_have_every_candidate() -> None:
    whole = constant([0.1, 0.2], epochs=3)
    with pytest.raises(DataError, match="the schedule of 3 epochs is not shorter"):
        whole.with_rungs({3: whole})
    with pytest.raises(DataError, match=r"the schedule of 1 epochs lacks the candidates \[2\]"):
        whole.with_rungs({1: constant([0.1], epochs=1)})


def test_rungs_without_a_value_are_refused() -> None:
    recording = make_recording({1: {2: 0.1, 4: 0.2}, 2: {1: 0.1, 2: 0.1, 4: 0.2}})
    check_rungs(recording, (2,), "asha")
    with pytest.raises(ConfigError, match=r"asha decides after epochs \[1, 3\]"):
        check_rungs(recording, (1, 2, 3), "asha")


# --- the choices by name: what a search runs


@pytest.mark.parametrize("scheduler", ["asha", "hyperband"])
def test_a_search_s_scheduler_decides_as_ray_s_own(scheduler: str) -> None:
    recording = constant([0.05 * n for n in range(1, 18)])
    play = judged_play(recording, Schedule(epochs=9, scheduler=scheduler))
    for order in (tuple(range(1, 18)), tuple(range(17, 0, -1))):
        raw = asha() if scheduler == "asha" else HyperBandScheduler(max_t=9, **SETTINGS)
        ours, theirs = play(order, 0), replay(recording, raw, order)
        assert (ours.spent, ours.stopped) == (theirs.spent, theirs.stopped)
        assert {n for _, n in ours.finished} == {n for _, n in theirs.finished}


def test_every_name_can_be_played_and_all_of_them_at_once() -> None:
    recording = constant([0.01 * n for n in range(1, 13)])
    chosen = contestants(recording, ["all"], ["all"], Rules())
    assert [(c.strategy, c.scheduler) for c in chosen[:5]] == [
        ("random", "fifo"),
        ("random", "asha"),
        ("random", "hyperband"),
        ("random", "median"),
        ("tpe", "fifo"),
    ]
    assert len(chosen) == 12
    for standing in simulate(recording, chosen, repeats=1):
        assert 0 < standing.spent[1] <= recording.total_epochs
        if standing.scheduler == "fifo":
            assert standing.end == (0.12, 0.12, 0.12)


@pytest.mark.parametrize("strategy", ["tpe", "evolution"])
def test_a_strategy_takes_each_candidate_once_and_begins_in_the_given_order(strategy: str) -> None:
    recording = constant([0.01 * n for n in range(1, 17)], epochs=1)
    order = tuple((7 * n) % 16 + 1 for n in range(16))
    play = judged_play(recording, Schedule(epochs=1), strategy=strategy)
    taken = [number for _, number in play(order, 3).finished]
    assert sorted(taken) == list(range(1, 17))
    assert taken[:10] == list(order[:10])  # it has nothing to learn from yet
    assert play(order, 3) == play(order, 3)


@pytest.mark.parametrize("strategy", ["tpe", "evolution"])
def test_a_strategy_that_learns_finds_the_end_of_a_slope_before_random_search(
    strategy: str,
) -> None:
    # Candidates differ in one depth, and the deepest is the best.
    recording = constant([0.01 * n for n in range(1, 31)], epochs=1)
    random, learning = simulate(
        recording, contestants(recording, ["random", strategy], ["fifo"], Rules()), repeats=20
    )
    assert learning.within[1] < random.within[1]
    assert learning.within[2] < random.within[2]


def test_unknown_names_are_refused() -> None:
    with pytest.raises(ConfigError, match="--strategy must be among random, tpe, evolution or all"):
        contestants(NINE, ["bayes"], ["fifo"], Rules())
    with pytest.raises(ConfigError, match="--scheduler must be among fifo, asha, hyperband"):
        contestants(NINE, ["random"], [""], Rules())


def test_a_scheduler_without_values_at_its_rungs_is_refused() -> None:
    recording = make_recording({n: {3: 0.1, 9: 0.2} for n in (1, 2)})
    contestants(recording, ["random"], ["asha"], Rules(grace_epochs=3))
    with pytest.raises(ConfigError, match=r"asha decides after epochs \[1\]"):
        contestants(recording, ["random"], ["asha"], Rules())


def test_rounds_halve_all_at_each_complete_rung() -> None:
    schedule = Schedule(epochs=9, scheduler="asha", rungs="complete")
    found = replay_rounds(NINE, schedule, RISING)
    # 9 for 1 epoch, the best 3 for 2 more, the best 1 for 6 more.
    assert found.spent == 9 * 1 + 3 * 2 + 1 * 6
    assert found.finished == ((21, 9),)
    assert found.stopped == {**dict.fromkeys(range(1, 7), 1), 7: 3, 8: 3}


def test_rounds_in_slots_end_side_by_side() -> None:
    schedule = Schedule(epochs=4, scheduler="asha", rungs="complete", reduction_factor=2)
    recording = constant([0.1, 0.2, 0.3, 0.4], epochs=4)
    found = replay_rounds(recording, schedule, (4, 3, 2, 1), slots=3)
    # Rungs at 1 and 2: 4 x 1, 2 x 1, then 4 alone for 2 epochs.
    assert found.spent == 4 + 2 + 2
    assert found.finished == ((8, 4),)
    three = constant([0.1, 0.2, 0.3, 0.4, 0.5, 0.6], epochs=4)
    found = replay_rounds(three, schedule, (1, 2, 3, 4, 5, 6), slots=2)
    # 6 x 1, 3 x 1, and 2 of those for 2 epochs, one after the other's first.
    assert found.finished == ((12, 5), (13, 6))


def test_complete_rungs_rank_by_the_short_schedules() -> None:
    whole = constant([0.1, 0.2, 0.3])
    # The short schedules see the order of the end, where the whole one's epoch 1 and 3 do not.
    misleading = {
        n: {e: (0.5 - 0.1 * n if e < 9 else 0.1 * n) for e in range(1, 10)} for n in (1, 2, 3)
    }
    short = {1: constant([0.1, 0.2, 0.3], epochs=1), 3: constant([0.1, 0.2, 0.3], epochs=3)}
    recording = make_recording(misleading)
    contestant_, spliced = complete_contestant(recording, short, Rules())
    assert contestant_.play((1, 2, 3), 0).finished == ((11, 3),)  # 3 x 1, 2, 6
    assert [rank.correlation.tau for rank in rung_ranks(recording)[:3]] == [-1.0, -1.0, -1.0]
    complete = rung_ranks(spliced, epochs=(1, 3))
    assert [(rank.epoch, rank.schedule, rank.correlation.tau) for rank in complete] == [
        (1, 1, 1.0),
        (3, 3, 1.0),
    ]
    with pytest.raises(ConfigError, match=r"schedules of \[3\] epochs too"):
        complete_contestant(whole, {1: short[1]}, Rules())
