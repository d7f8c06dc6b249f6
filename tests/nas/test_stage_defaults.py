"""What a stage chooses by itself, and what it says beforehand."""

import pytest
import yaml
from fake_search import FakeSearch

from nas.search.report_limits import report_limits


@pytest.fixture
def counted(search: FakeSearch) -> FakeSearch:
    """A search on 100 training and 10 validation images: an evaluation takes 1/30 epoch."""
    (search.data / "train" / "labelv2.txt").write_text("# a.jpg 10 10\n" * 100)
    (search.data / "val" / "labelv2.txt").write_text("# b.jpg 10 10\n1 1 5 5\n" * 10)
    return search


def evaluated(search: FakeSearch) -> list[int]:
    settings = search.directory.requests()[1].settings(threads=1)
    return [epoch for epoch in range(1, settings.epochs + 1) if settings.is_evaluated(epoch)]


def test_evaluations_are_chosen_recorded_and_kept(counted: FakeSearch) -> None:
    # 3 % of 9 epochs are 8.1 evaluations: all.
    counted.begin(1, epochs=9)
    recorded = yaml.safe_load(counted.directory.search_file.read_text())["stage1"]["request"]
    assert recorded["eval_every"] is None
    assert recorded["eval_at"] == [1, 2, 3, 4, 5, 6, 7, 8]
    text = counted.directory.search_file.read_text()
    counted.directory.search_file.write_text(text.replace("[1, 2, 3,", "[1, 3,"))
    counted.begin(2, epochs=9)  # a choice of another version is kept
    assert evaluated(counted) == [1, 3, 4, 5, 6, 7, 8, 9]
    counted.run(2, template="1", num_candidates=1)
    assert counted.directory.requests()[2].eval_at == (1, 3, 4, 5, 6, 7, 8)


@pytest.mark.parametrize(("given", "expected"), [(0, [9]), (4, [4, 8, 9])])
def test_given_evaluations_are_taken(counted: FakeSearch, given: int, expected: list[int]) -> None:
    counted.begin(1, epochs=9, eval_every=given)
    assert evaluated(counted) == expected
    counted.begin(2, epochs=9)
    assert evaluated(counted) == expected
    counted.begin(2, epochs=9, eval_every=3)
    assert evaluated(counted) == [3, 6, 9]


def test_a_search_without_recorded_evaluations_is_resumed_as_it_was(counted: FakeSearch) -> None:
    counted.begin(1, epochs=9, eval_every=0)
    text = counted.directory.search_file.read_text()
    assert text.count("    eval_at: []\n") == 1
    counted.directory.search_file.write_text(text.replace("    eval_at: []\n", ""))
    counted.begin(2, epochs=9)
    assert evaluated(counted) == [9]


def test_the_rungs_of_asha_are_evaluated_too(counted: FakeSearch) -> None:
    (counted.data / "val" / "labelv2.txt").write_text("# b.jpg 10 10\n" * 100)
    counted.begin(1, epochs=40, scheduler="asha")  # 3.6 evaluations: multiples of 12
    assert evaluated(counted) == [4, 12, 24, 36, 40]


def test_what_the_report_will_lack_is_said_once(counted: FakeSearch) -> None:
    counted.begin(2, epochs=9)
    said = [line for line in counted.display.lines if line.startswith("the report will")]
    assert said == report_limits(counted.directory.requests()[1])
    assert ["scrfd-nas confirm" in said[0], "--num-candidates 8" in said[1]] == [True, True]
    assert "--select-on holdout:0.1" in said[2]
    assert len(said) == 3
    counted.begin(3, epochs=9)
    counted.run(2, template="1", num_candidates=2)
    assert sum(line.startswith("the report will") for line in counted.display.lines) == 3


def test_a_report_lacks_less_of_a_larger_search(counted: FakeSearch) -> None:
    counted.begin(8, epochs=9, eval_every=0, select_on="holdout:0.5")
    (_, curves) = report_limits(counted.directory.requests()[1])
    assert curves.endswith("last three epochs are not all evaluated: --eval-every 1")
