"""Training as a whole has the recorded losses: 20 iterations of each built-in recipe."""

import json
from pathlib import Path

import make_training_losses
import numpy as np
import pytest


@pytest.mark.parametrize("recipe", ["reference", "quick"])
def test_twenty_iterations_have_the_recorded_losses(recipe: str, tmp_path: Path) -> None:
    # The tolerance is for other CPUs, whose order of summation differs.
    expected = json.loads(make_training_losses.GOLDEN.read_text(encoding="utf-8"))[recipe]
    losses = make_training_losses.training_losses(tmp_path, recipe)
    assert len(losses) == 20
    np.testing.assert_allclose(losses[:3], expected[:3], rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(losses, expected, rtol=2e-2, atol=1e-4)
