"""Successive halving over 9 epochs with factor 3: rungs after epochs 1 and 3."""

from nas.early_stopping.rounds import Round, next_round
from nas.early_stopping.schedule import Schedule

SCHEDULE = Schedule(epochs=9, scheduler="asha", rungs="complete")
FIRST = {n: {1: n / 10} for n in range(1, 10)}  # candidate 9 leads


def test_all_are_trained_to_the_first_rung() -> None:
    curves = {1: {}, 2: {1: 0.5}, 3: {}}
    assert next_round(SCHEDULE, curves, ()) == Round(until=1, numbers=(1, 3))


def test_a_third_continues_from_each_rung() -> None:
    now = next_round(SCHEDULE, FIRST, ())
    assert (now.until, now.numbers) == (3, (7, 8, 9))
    assert now.promoted == {7: 1, 8: 1, 9: 1}
    assert now.stopped == dict.fromkeys(range(1, 7), 1)
    curves = {**FIRST, 7: {1: 0.7, 3: 0.9}, 8: {1: 0.8, 3: 0.8}, 9: {1: 0.9, 3: 0.7}}
    now = next_round(SCHEDULE, curves, ())
    assert (now.until, now.numbers, now.promoted) == (9, (7,), {7: 3})
    assert now.stopped == {**dict.fromkeys(range(1, 7), 1), 8: 3, 9: 3}
    done = next_round(SCHEDULE, {**curves, 7: {**curves[7], 9: 0.95}}, ())
    assert done.numbers == ()


def test_equal_values_rank_by_number() -> None:
    assert next_round(SCHEDULE, {n: {1: 0.5} for n in range(1, 5)}, ()).numbers == (1, 2)


def test_a_failed_candidate_keeps_its_place() -> None:
    now = next_round(SCHEDULE, FIRST, {9})
    assert (now.until, now.numbers) == (3, (7, 8))
    assert 6 in now.stopped
    early = next_round(SCHEDULE, {1: {}, 2: {1: 0.2}, 3: {1: 0.3}, 4: {1: 0.4}}, {1})
    assert early.numbers == (4,)  # 1 of 3: the failed one has no value at the rung


def test_added_candidates_are_trained_to_the_first_rung_first() -> None:
    curves = {**FIRST, 9: {1: 0.9, 3: 0.5, 9: 0.5}, 10: {}, 11: {}, 12: {}}
    assert next_round(SCHEDULE, curves, ()).numbers == (10, 11, 12)


def test_added_candidates_make_room_for_a_stopped_one() -> None:
    # 12 candidates: 4 places instead of 3; the new ones are bad, so 6 gets the fourth.
    curves = {**FIRST, **{n: {1: 0.01} for n in (10, 11, 12)}}
    curves |= {n: {1: n / 10, 3: 0.1} for n in (7, 8, 9)}
    assert next_round(SCHEDULE, curves, ()).numbers == (6,)
