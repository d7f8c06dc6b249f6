import pytest

from search_spaces.zoo.published import PUBLISHED, published_near


@pytest.mark.parametrize(
    ("flops", "names"),
    [
        (
            2_500_000_000,
            ["YOLO5Face-n", "DamoFD-2.5GF", "SCRFD-2.5GF", "SCRFD-2.5GF-KPS", "ResNet-2.5GF"],
        ),
        (34_000_000_000, ["SCRFD-34GF", "DamoFD-34GF", "ResNet-34GF"]),
        (5_000_000_000, []),
    ],
)
def test_detectors_of_a_budget_are_sorted_by_hard_ap(flops: int, names: list[str]) -> None:
    assert [row.name for row in published_near(flops)] == names


def test_units_are_those_of_a_leaderboard() -> None:
    row = next(row for row in PUBLISHED if row.name == "SCRFD-2.5GF")
    assert (row.easy, row.medium, row.hard) == (0.9378, 0.9216, 0.7787)
    assert (row.flops, row.params) == (2_530_000_000, 670_000)
    assert all(0 < (row.hard or 0) < 1 for row in PUBLISHED)
