"""Proxies in closed form, from the numbers of an Architecture without a network.

They are the baseline: a proxy that ranks no better is not worth its forward pass. The
candidates of a search have nearly the same FLOPs, but spend them in different parts.
"""

import math

from search_spaces.architecture import Architecture
from search_spaces.cost.detector import flops_by_part, params_by_part, total
from trials.proxies.probe import Probe

EARLY = ("stem", "c2", "c3")
BACKBONE = ("stem", "c2", "c3", "c4", "c5")


def log_params(architecture: Architecture, _: Probe) -> float:
    """Return the natural logarithm of the number of learned parameters."""
    return math.log(total(params_by_part(architecture)))


def log_flops(architecture: Architecture, _: Probe) -> float:
    """Return the natural logarithm of the multiply-adds at 480 x 640."""
    return math.log(total(flops_by_part(architecture)))


def depth(architecture: Architecture, _: Probe) -> float:
    """Return the number of blocks in the backbone's four stages."""
    return float(sum(architecture.backbone.depths))


def early_share(architecture: Architecture, _: Probe) -> float:
    """Return the share of the FLOPs in stem, C2 and C3.

    In SCRFD's search on WIDER FACE the best networks spend more of their compute in the
    shallow stages, which detect small faces (arXiv 2105.04714, section 3.3).
    """
    return _share(architecture, EARLY)


def backbone_share(architecture: Architecture, _: Probe) -> float:
    """Return the share of the FLOPs in the backbone, which SCRFD's search also raises."""
    return _share(architecture, BACKBONE)


def _share(architecture: Architecture, parts: tuple[str, ...]) -> float:
    flops = flops_by_part(architecture)
    return float(sum(flops[part] for part in parts) / total(flops))
