from dataclasses import replace

import pytest
from fake_recordings import constant
from fake_trials import make_architecture

from nas.planning.recording import Recording, record, splice
from reports.curves import Curve
from search_spaces.errors import DataError


def curve(candidate: int, hard: dict[int, float]) -> Curve:
    return Curve(candidate=candidate, architecture=make_architecture(candidate), hard=hard)


def test_incomplete_curves_are_left_out_and_named() -> None:
    curves = [curve(1, {1: 0.1, 3: 0.3}), curve(2, {1: 0.1}), curve(4, {3: 0.4}), curve(5, {})]
    recording, left_out = record(curves)
    assert (recording.epochs, recording.numbers, left_out) == (3, (1, 4), [2, 5])
    assert (recording.best, recording.total_epochs) == (0.4, 6)
    assert recording.evaluated() == (3,)


@pytest.mark.parametrize(
    ("curves", "epochs", "message"),
    [
        ([], None, "a replay needs two candidates or more"),
        ([curve(1, {1: 0.5})], None, "1 of 1 were"),
        ([curve(1, {}), curve(2, {})], None, "0 of 2 were"),
        ([curve(1, {1: 0.5}), curve(2, {1: 0.5})], 3, "after epoch 3, the last one; 0 of 2 were"),
        ([curve(1, {1: 0.5}), curve(1, {1: 0.5})], None, "candidate 1 has two curves"),
    ],
)
def test_curves_that_cannot_be_replayed_are_refused(
    curves: list[Curve], epochs: int | None, message: str
) -> None:
    with pytest.raises(DataError, match=message):
        record(curves, epochs)


def test_short_schedules_replace_the_curve_up_to_their_end() -> None:
    whole = constant([0.1, 0.2, 0.3], epochs=9)
    one, three = constant([0.6, 0.5], epochs=1), constant([0.8, 0.7], epochs=3)
    shared, spliced = splice(whole, [three, one])
    assert shared == constant([0.1, 0.2], epochs=9)
    assert spliced.hard[1] == {1: 0.6, 2: 0.8, 3: 0.8, **dict.fromkeys(range(4, 10), 0.1)}
    assert spliced.final(2) == 0.2


ONE = constant([0.6, 0.5], epochs=1)


@pytest.mark.parametrize(
    ("short", "message"),
    [
        ([constant([0.1, 0.2], epochs=3)], "the schedule of 3 epochs must be shorter"),
        ([ONE, ONE], r"must differ in their epochs, got \[1, 1\]"),
        ([constant([0.1], epochs=1)], "share fewer than two candidates"),
        (
            [replace(ONE, architectures={1: make_architecture(1), 2: make_architecture(7)})],
            r"other architectures under the numbers \[2\]",
        ),
    ],
)
def test_short_schedules_that_do_not_fit_are_refused(short: list[Recording], message: str) -> None:
    with pytest.raises(DataError, match=message):
        splice(constant([0.1, 0.2], epochs=3), short)
