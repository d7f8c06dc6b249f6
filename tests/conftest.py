"""Fixtures for all tests. Reference data lies beside the project; tests skip without it."""

from pathlib import Path

import pytest

REFERENCE_DATA = Path(__file__).resolve().parents[2] / "shared"


@pytest.fixture(scope="session")
def shared_dir() -> Path:
    """The folder of reference data (golden files, weights, photos), or a skip."""
    if not REFERENCE_DATA.is_dir():
        pytest.skip("no reference data beside the project (../shared)")
    return REFERENCE_DATA


@pytest.fixture(scope="session")
def golden_dir(shared_dir: Path) -> Path:
    """Numbers produced by running the reference."""
    return shared_dir / "golden"
