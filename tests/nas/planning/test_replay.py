import math
from typing import Any

from fake_recordings import NINE, constant, make_recording

from nas.early_stopping.schedule import Schedule
from nas.planning.replay import replay

FIFO = Schedule(epochs=9)
ASHA = Schedule(epochs=9, scheduler="asha")  # rungs 1 and 3
COMPLETE = Schedule(epochs=9, scheduler="asha", rungs="complete")
RISING, FALLING = tuple(range(1, 10)), tuple(range(9, 0, -1))


def test_fifo_trains_all_candidates_in_the_given_order() -> None:
    found = replay(NINE, FIFO, (3, 1, 9, 2))
    assert found.finished == ((9, 3), (18, 1), (27, 9), (36, 2))
    assert (found.spent, found.stopped) == (36, {})


def test_trials_in_two_slots_advance_together() -> None:
    found = replay(NINE, FIFO, (3, 1, 9), slots=2)
    # 3 and 1 share the first 18 epochs; 9 follows alone.
    assert found.finished == ((17, 3), (18, 1), (27, 9))


def test_the_best_within_a_budget_is_the_best_that_is_finished_by_then() -> None:
    found = replay(NINE, FIFO, (3, 9, 1))
    assert found.best_at(8, NINE) == -math.inf
    assert found.best_at(9, NINE) == found.best_at(17, NINE) == NINE.final(3)
    assert found.best_at(18, NINE) == found.best_at(1000, NINE) == NINE.final(9)
    assert found.spent_until(0.9, NINE) == 18
    assert found.spent_until(0.91, NINE) == math.inf


def test_asha_depends_on_the_order() -> None:
    rising = replay(NINE, ASHA, RISING)  # each is better than all before
    assert (rising.spent, rising.stopped) == (81, {})
    falling = replay(NINE, ASHA, FALLING)
    assert falling.finished == ((9, 9),)
    assert falling.stopped == dict.fromkeys(range(1, 9), 1)
    assert falling.spent == 9 + 8 * 1


def test_asha_stops_at_later_rungs_too() -> None:
    # Candidates 1 to 3 rise at the first rung; at epoch 3 the last two are below the first.
    late = {1: 0.9, 2: 0.8, 3: 0.7}
    hard = {n: {e: (0.1 * n if e == 1 else late[n]) for e in range(1, 10)} for n in late}
    found = replay(make_recording(hard), ASHA, (1, 2, 3))
    assert found.finished == ((9, 1),)
    assert found.stopped == {2: 3, 3: 3}
    assert found.spent == 9 + 3 + 3


def test_rounds_halve_all_candidates_at_each_complete_rung() -> None:
    found = replay(NINE, COMPLETE, RISING)
    # 9 for 1 epoch, the best 3 for 2 more, the best 1 for 6 more.
    assert found.spent == 9 * 1 + 3 * 2 + 1 * 6
    assert found.finished == ((21, 9),)
    assert found.stopped == {**dict.fromkeys(range(1, 7), 1), 7: 3, 8: 3}


def test_rounds_in_slots_end_side_by_side() -> None:
    schedule = Schedule(epochs=4, scheduler="asha", rungs="complete", reduction_factor=2)
    found = replay(constant([0.1, 0.2, 0.3, 0.4], epochs=4), schedule, (4, 3, 2, 1), slots=3)
    # Rungs at 1 and 2: 4 x 1, 2 x 1, then 4 alone for 2 epochs.
    assert (found.spent, found.finished) == (4 + 2 + 2, ((8, 4),))
    six = constant([0.1, 0.2, 0.3, 0.4, 0.5, 0.6], epochs=4)
    found = replay(six, schedule, (1, 2, 3, 4, 5, 6), slots=2)
    # 6 x 1, 3 x 1, and 2 of those for 2 epochs, one after the other's first.
    assert found.finished == ((12, 5), (13, 6))


def test_a_strategy_chooses_when_a_slot_is_free_knowing_what_is_finished() -> None:
    asked: list[tuple[dict[int, float], tuple[int, ...]]] = []

    def choose(finished: Any, left: Any) -> int:
        asked.append((dict(finished), tuple(left)))
        return max(left)

    recording = constant([0.1, 0.2, 0.3], epochs=2)
    found = replay(recording, Schedule(epochs=2), (2, 1, 3), choose=choose)
    assert [number for _, number in found.finished] == [3, 2, 1]
    assert asked == [({}, (2, 1, 3)), ({3: 0.3}, (2, 1)), ({3: 0.3, 2: 0.2}, (1,))]
