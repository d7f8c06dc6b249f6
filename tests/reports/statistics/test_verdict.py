from collections.abc import Mapping, Sequence

import pytest

from reports.statistics.verdict import verdict

CLOSE = (-0.01, 0.0, 0.01)  # around a mean: t(0.975, 4) x 0.01 x sqrt(2/3) = 0.0227 tells apart


def around(mean: float) -> list[float]:
    return [mean + step for step in CLOSE]


def found(hards: Mapping[int, Sequence[float]]) -> tuple[str, tuple[int, ...], int, int]:
    item = verdict(hards)
    return item.kind, item.ties, item.top, item.seeds


@pytest.mark.parametrize(
    ("hards", "left", "kind", "reason"),
    [
        ({}, 0, "none", "No candidate finished."),
        ({}, 7, "none", "No candidate has finished; 7 are left."),
        ({1: [0.5]}, 0, "alone", "the only finished candidate"),
        ({1: around(0.5), 2: around(0.1)}, 3, "wait", "3 of 5 candidates have not ended"),
    ],
)
def test_too_little_for_a_winner(
    hards: Mapping[int, Sequence[float]], left: int, kind: str, reason: str
) -> None:
    item = verdict(hards, left=left)
    assert (item.kind, item.top, item.seeds) == (kind, 0, 0)
    assert reason in item.reason


@pytest.mark.parametrize(
    ("count", "noise", "top", "reason"),
    [
        (3, None, 3, "cannot be estimated"),
        (20, None, 5, "cannot be estimated"),
        (20, 0.005, 5, "vary by less (0.0050), but seeds add more"),
        (20, 0.015, 5, "vary by 0.0150: 1 other is as close"),
        (20, 0.065, 7, "vary by 0.0650: 6 others are as close"),
        (20, 0.5, 10, "19 others are as close"),
    ],
)
def test_one_seed_is_never_trusted(count: int, noise: float | None, top: int, reason: str) -> None:
    """APs of 0.50, 0.49, ...: the lead is 0.01."""
    item = verdict({n: [0.5 - 0.01 * n] for n in range(count)}, noise=noise)
    assert (item.kind, item.label, item.top, item.seeds) == ("confirm", "Confirm it first", top, 3)
    assert "it leads by 0.0100" in item.reason
    assert reason in item.reason


def test_a_winner_ahead_of_all_is_trusted() -> None:
    item = verdict({4: around(0.5), 2: around(0.4), 9: [0.3]})
    assert (item.kind, item.label, item.ties) == ("trust", "Trust it", ())
    assert "All candidates with one seed are further away." in item.reason


def test_a_tie_names_those_that_share_the_rank() -> None:
    assert found({4: around(0.50), 2: around(0.49), 9: around(0.4)}) == ("tie", (2,), 2, 5)
    assert "leads candidate 2 by 0.0100" in verdict({4: around(0.50), 2: around(0.49)}).reason
    label = verdict({n: around(0.5) for n in range(1, 8)}).label
    assert label == "A tie with candidates 2, 3, 4, 5 and 2 more"


def test_the_best_by_the_own_seed_include_all_that_tie() -> None:
    """The own seed comes first; by it candidate 9 is the best, and by all three the last."""
    hards = {4: around(0.50), 2: around(0.49), 9: [0.55, 0.3, 0.3]}
    assert found(hards) == ("tie", (2, 9), 3, 5)


def test_a_close_one_with_one_seed_must_be_confirmed_too() -> None:
    """2.776 x 0.01 x sqrt(4/3) = 0.0321 below the mean of 0.5 a value may be a seed of the best."""
    apart = {4: around(0.5), 2: around(0.4)}
    assert found({**apart, 9: [0.4678]}) == ("trust", (), 0, 0)
    assert found({**apart, 9: [0.4681]}) == ("confirm", (), 2, 3)
    assert found({**apart, 9: [0.4681], 7: [0.47]}) == ("confirm", (), 3, 3)
    assert (
        "2 more candidates are as close: 7 and 9"
        in verdict({**apart, 9: [0.4681], 7: [0.47]}).reason
    )


def test_equal_seeds_have_no_spread() -> None:
    assert found({1: [0.5, 0.5], 2: [0.4, 0.4], 3: [0.49]}) == ("trust", (), 0, 0)
    assert found({1: [0.5, 0.5], 2: [0.5, 0.5]}) == ("tie", (2,), 2, 4)
