"""Cost columns of a candidate, shared by the tables of this package."""

from typing import Any

from search_spaces.architecture import Architecture
from search_spaces.cost.detector import PARTS, flops_by_part, params_by_part, total

SHARES = tuple(f"share_{part}" for part in PARTS)
COSTS = ("flops", "params", *SHARES)


def costs(architecture: Architecture) -> dict[str, Any]:
    """Return `COSTS`: multiply-adds at 480x640, parameters, and shares of the FLOPs (sum 1)."""
    flops = flops_by_part(architecture)
    whole = total(flops)
    shares = {f"share_{part}": flops[part] / whole for part in PARTS}
    return {"flops": whole, "params": total(params_by_part(architecture)), **shares}
