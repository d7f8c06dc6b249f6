"""Makes `tests/support` importable here and in the Ray workers that tests start."""

import os
import sys
from pathlib import Path

SUPPORT = str(Path(__file__).resolve().parents[1] / "support")

if SUPPORT not in sys.path:
    sys.path.insert(0, SUPPORT)
    inherited = os.environ.get("PYTHONPATH")
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, (SUPPORT, inherited)))
