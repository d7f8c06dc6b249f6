import pytest

from reports.statistics.comparison import Population, compare_populations
from search_spaces.errors import ConfigError

LOW = Population(name="low", hard=tuple(0.1 + 0.001 * n for n in range(40)))
HIGH = Population(name="high", hard=tuple(0.5 + 0.001 * n for n in range(20)))


def test_separate_populations_differ() -> None:
    (found,) = compare_populations([LOW, HIGH]).differences
    assert (found.first, found.second) == ("low", "high")
    assert str(found).startswith("high is better than low: the best of 5 drawn candidates differs")
    assert (found.ks, found.draws) == (1.0, 5)
    assert found.p < 1e-6
    assert found.median is not None
    assert found.best is not None
    # medians 0.1195 and 0.5095
    assert found.median.median == pytest.approx(0.39, abs=0.005)
    assert found.median.low > 0.36
    assert found.best.low > 0.36
    (reversed_order,) = compare_populations([HIGH, LOW]).differences
    assert reversed_order.median is not None
    assert reversed_order.median.high < -0.36
    assert str(reversed_order).startswith("low is worse than high: ")


def test_equal_populations_do_not_differ() -> None:
    again = Population(name="again", hard=LOW.hard)
    (found,) = compare_populations([LOW, again]).differences
    assert (found.ks, found.p) == (0.0, 1.0)
    assert found.median is not None
    assert found.best is not None
    assert found.median.low < 0 < found.median.high
    assert str(found).startswith("Neither again nor low is shown to be better: ")
    assert found.best.low < 0 < found.best.high


def test_larger_populations_have_no_advantage() -> None:
    """Four copies of the same values have an equal best of equally many draws."""
    (found,) = compare_populations([LOW, Population(name="big", hard=LOW.hard * 4)]).differences
    assert found.draws == 10
    assert found.best is not None
    assert abs(found.best.median) <= 0.001


def test_all_pairs_are_compared() -> None:
    third = Population(name="third", hard=(0.3,))
    comparison = compare_populations([LOW, HIGH, third])
    pairs = [(d.first, d.second) for d in comparison.differences]
    assert pairs == [("low", "high"), ("low", "third"), ("high", "third")]
    summary = comparison.to_dict()["populations"][2]
    figures = {"candidates": 1, "best": 0.3, "median": 0.3, "worst": 0.3}
    assert summary == {"population": "third", **figures}


def test_few_candidates_have_no_intervals_and_no_test() -> None:
    few = Population(name="few", hard=LOW.hard[:7])
    (found,) = compare_populations([HIGH, few]).differences
    assert (found.median, found.best, found.draws, found.ks, found.p) == (None,) * 5
    assert found.gap == pytest.approx(0.106 - 0.519)
    assert "best of few is 0.4130 lower than that of high; with fewer than 8" in str(found)


def test_several_pairs_are_corrected() -> None:
    """Three pairs: p-values by Holm, and intervals at 1 - 0.05 / 3."""
    again = Population(name="again", hard=tuple(value + 0.004 for value in LOW.hard))
    (alone,) = compare_populations([LOW, again]).differences
    first = compare_populations([LOW, again, HIGH]).differences[0]
    assert alone.p is not None
    assert first.p == pytest.approx(alone.p)  # the largest of three stays
    assert alone.best is not None
    assert first.best is not None
    assert first.best.low < alone.best.low
    second = compare_populations([LOW, again, LOW]).differences
    three = min(1.0, 3 * alone.p)
    assert [item.p for item in second] == pytest.approx([three, 1.0, three])


def test_ties_are_compared_without_a_warning() -> None:
    one = Population(name="one", hard=(0.5,) * 30)
    two = Population(name="two", hard=(0.5,) * 29 + (0.6,))
    (found,) = compare_populations([one, two]).differences
    assert found.ks == pytest.approx(1 / 30)


def test_fewer_than_two_populations_are_refused() -> None:
    with pytest.raises(ConfigError, match="needs two stages with finished candidates, got low"):
        compare_populations([LOW])
    with pytest.raises(ConfigError, match="empty has no finished candidate"):
        Population(name="empty", hard=())
