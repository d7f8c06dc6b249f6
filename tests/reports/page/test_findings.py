import pytest
from fake_stages import make_candidate, make_stage

from reports.figures.shares import share_table
from reports.page.findings import compute_findings, noise_threshold
from reports.search_data import StageData
from search_spaces.cost.detector import flops_by_part, total


def text(stage: StageData) -> str:
    return compute_findings(stage, share_table(stage))


def test_noise_is_estimated_from_the_curves() -> None:
    # second differences of 0.0165 each: a deviation of 0.0165 / 0.6745 / sqrt(6) = 0.010
    stage = make_stage(
        [
            make_candidate(1, 0.50, {2: 0.3, 3: 0.4, 4: 0.5165}),
            make_candidate(2, 0.48, {2: 0.3, 3: 0.4, 4: 0.4835}),
            make_candidate(3, 0.30, {1: 0.1, 2: 0.2, 4: 0.2835}),
        ]
    )
    assert noise_threshold(stage) == pytest.approx(1.96 * 2**0.5 * 0.0165 / 0.6745 / 6**0.5)
    assert noise_threshold(make_stage([0.5, 0.4])) is None


def test_noise_is_not_estimated_from_points_between_which_the_training_changes_the_ap() -> None:
    stage = make_stage([make_candidate(n, 0.5, {3: 0.1, 6: 0.4, 9: 0.5}) for n in (1, 2)])
    assert noise_threshold(stage) is None


def test_spending_is_compared_with_the_median() -> None:
    stage = make_stage([0.5, 0.2, 0.3])
    shares = []
    for candidate in stage.candidates:
        flops = flops_by_part(candidate.architecture)
        shares.append(flops["c5"] / total(flops))
    found = text(stage)
    assert f"c5 {100 * shares[0]:.1f} % (median {100 * sorted(shares)[1]:.1f} %)" in found
    assert "Ranges and correlations are left out: 3 candidates are too few" in found


def test_only_parts_on_which_the_best_agree_are_named() -> None:
    """Hard AP and the share of C5 increase with the number, or the APs are mixed."""
    found = text(make_stage([0.01 * number for number in range(1, 41)]))
    assert "the best of 10 drawn candidates spends" in found
    assert "more in c5" in found
    mixed = text(make_stage([0.5 + 0.001 * ((7 * number) % 20) for number in range(20)]))
    assert "do not show where compute should go" in mixed
