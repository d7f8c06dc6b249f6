"""Fixtures for all tests; makes `tests/support` and `tests/golden` importable everywhere."""

import os
import sys
from pathlib import Path

import pytest

for name in ("support", "golden"):
    folder = str(Path(__file__).resolve().parent / name)
    if folder not in sys.path:
        sys.path.insert(0, folder)
        inherited = os.environ.get("PYTHONPATH")  # of processes that tests start
        os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, (folder, inherited)))

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
