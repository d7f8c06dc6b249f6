from dataclasses import replace
from typing import Any

import pytest
from fake_stages import make_candidate, make_stage

from reports.page.findings import noise_threshold, why_it_wins
from reports.search_data import StageData
from search_spaces.cost.detector import flops_by_part, total


def text(stage: StageData) -> str:
    return " ".join(why_it_wins(stage))


@pytest.mark.parametrize(
    ("made", "expected"),
    [
        ([], "no winner yet"),
        (["failed", None, (2, 0.5)], "no winner yet"),
        ([None, 0.5], "Candidate 2 is the only finished one"),
        (
            [0.25, 0.5, "failed", 0.125],
            "Candidate 2 leads the 3 of 4 finished candidates with hard AP 0.5000",
        ),
        ([0.25, 0.5, 0.125], "0.2500 ahead of candidate 1; the median is 0.2500"),
        ([0.25, 0.5], "2 candidates, one seed each: the noise cannot be estimated"),
    ],
)
def test_lead_of_the_winner(made: list[Any], expected: str) -> None:
    assert expected in text(make_stage(made))


def test_noise_is_estimated_from_the_curves() -> None:
    # second differences of 0.0165 each: a deviation of 0.0165 / 0.6745 / sqrt(6) = 0.010
    stage = make_stage(
        [
            make_candidate(1, 0.50, {2: 0.3, 3: 0.4, 4: 0.5165}),
            make_candidate(2, 0.48, {2: 0.3, 3: 0.4, 4: 0.4835}),
            make_candidate(3, 0.30, {1: 0.1, 2: 0.2, 4: 0.2835}),
        ]
    )
    threshold = 1.96 * 2**0.5 * 0.0165 / 0.6745 / 6**0.5
    assert noise_threshold(stage) == pytest.approx(threshold)
    found = text(stage)
    assert f"a difference below {threshold:.4f} is within the noise" in found
    assert "1 other is as close to the best" in found


def test_noise_is_not_estimated_from_points_between_which_the_training_changes_the_ap() -> None:
    stage = make_stage([make_candidate(n, 0.5, {3: 0.1, 6: 0.4, 9: 0.5}) for n in (1, 2)])
    assert noise_threshold(stage) is None
    assert "the noise cannot be estimated" in text(stage)


def test_significance_of_the_lead_over_several_seeds() -> None:
    def stage(second: tuple[float, ...]) -> StageData:
        first = replace(make_candidate(1, 0.50), hards=(0.50, 0.51, 0.52))
        other = replace(make_candidate(2, second[0]), hards=second)
        return make_stage([first, other, 0.2])

    apart = text(stage((0.30, 0.31, 0.32)))
    assert "mean hard AP of 0.5100 over 3 seeds" in apart
    assert "larger than the spread of the seeds" in apart
    tied = text(stage((0.40, 0.51, 0.59)))
    assert "does not differ significantly from 2: the lead is within" in tied


def test_confirmed_candidates_precede_unconfirmed_ones() -> None:
    confirmed = replace(make_candidate(1, 0.30), hards=(0.30, 0.31))
    stage = make_stage([confirmed, 0.9])
    assert [c.candidate for c in stage.finished] == [1, 2]
    assert "No other candidate was trained with several seeds" in text(stage)


def test_spending_is_compared_with_the_median() -> None:
    stage = make_stage([0.5, 0.2, 0.3])
    shares = []
    for candidate in stage.candidates:
        flops = flops_by_part(candidate.architecture)
        shares.append(flops["c5"] / total(flops))
    found = text(stage)
    assert f"c5 {100 * shares[0]:.1f} % (median {100 * sorted(shares)[1]:.1f} %)" in found
    assert "3 candidates are too few to show where compute should go" in found


def test_only_parts_on_which_the_best_agree_are_named() -> None:
    """Hard AP and the share of C5 increase with the number, or the APs are mixed."""
    found = text(make_stage([0.01 * number for number in range(1, 41)]))
    assert "the best of 10 drawn candidates spends" in found
    assert "more in c5" in found
    mixed = text(make_stage([0.5 + 0.001 * ((7 * number) % 20) for number in range(20)]))
    assert "do not show where compute should go" in mixed
