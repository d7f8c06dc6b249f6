import math

import pytest

from reports.statistics.holm import holm


@pytest.mark.parametrize(
    ("given", "corrected"),
    [
        ([], []),
        ([0.03], [0.03]),
        # 3 x 0.01, then 2 x 0.02, and 0.03 may not be below what precedes it
        ([0.02, 0.01, 0.03], [0.04, 0.03, 0.04]),
        ([0.6, 0.7], [1.0, 1.0]),
        ([math.nan, 0.01, 0.04], [math.nan, 0.02, 0.04]),
    ],
)
def test_p_values_are_corrected_by_hand(given: list[float], corrected: list[float]) -> None:
    assert holm(given) == pytest.approx(corrected, nan_ok=True)
