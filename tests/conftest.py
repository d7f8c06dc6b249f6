"""Fixtures for all tests; makes `tests/support` importable, also in processes that tests start."""

import os
import sys
from pathlib import Path

import pytest

SUPPORT = str(Path(__file__).resolve().parent / "support")

if SUPPORT not in sys.path:
    sys.path.insert(0, SUPPORT)
    inherited = os.environ.get("PYTHONPATH")
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, (SUPPORT, inherited)))

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
