"""The proxies by name. More is more promising; of `-NAME`, the opposite of a proxy, less is.

Which of the two holds for a search, or neither, is not known beforehand: `nas.audit` compares
each with the APs of finished trials. Short trainings, for instance, favour shallow networks.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from search_spaces.architecture import Architecture
from search_spaces.errors import ConfigError
from trials.device import limited_threads
from trials.proxies import closed_form, gradients, zen
from trials.proxies.probe import IMAGE_SIZE, Probe

_OPPOSITE = "-"

Compute = Callable[[Architecture, Probe], float]


@dataclass(frozen=True, kw_only=True)
class Proxy:
    """A training-free score.

    Attributes:
        name: what users call it.
        about: the formula in a few words.
        compute: architecture and probe to the score.
    """

    name: str
    about: str
    compute: Compute


_ALL = (
    Proxy(name="params", about="log parameters", compute=closed_form.log_params),
    Proxy(name="flops", about="log FLOPs", compute=closed_form.log_flops),
    Proxy(name="depth", about="blocks of the backbone", compute=closed_form.depth),
    Proxy(name="early", about="share of FLOPs in stem to C3", compute=closed_form.early_share),
    Proxy(
        name="backbone", about="share of FLOPs in stem to C5", compute=closed_form.backbone_share
    ),
    Proxy(name="zen", about="Zen-score of the backbone", compute=zen.zen),
    Proxy(name="stage_zen", about="Zen-scores of C3 to C5, by faces", compute=zen.stage_zen),
    Proxy(name="synflow", about="log synaptic flow of the detector", compute=gradients.synflow),
    Proxy(name="grad_norm", about="log gradient norm, random labels", compute=gradients.grad_norm),
)
PROXIES: Mapping[str, Proxy] = MappingProxyType({proxy.name: proxy for proxy in _ALL})


def require_proxy(name: object) -> Proxy:
    """The proxy of this name, or the opposite of NAME for `-NAME`.

    Raises:
        ConfigError: there is none.
    """
    text = name if isinstance(name, str) else ""
    proxy = PROXIES.get(text.removeprefix(_OPPOSITE))
    if proxy is None:
        known = ", ".join(PROXIES)
        raise ConfigError(f"a proxy is one of {known}, or its opposite (-zen), got {name!r}")
    return _opposite(proxy) if text.startswith(_OPPOSITE) else proxy


def _opposite(proxy: Proxy) -> Proxy:
    def compute(architecture: Architecture, probe: Probe) -> float:
        return -proxy.compute(architecture, probe)

    return Proxy(name=f"{_OPPOSITE}{proxy.name}", about=f"less {proxy.about}", compute=compute)


def score(
    name: str, architecture: Architecture, *, seed: int = 0, image_size: int = IMAGE_SIZE
) -> float:
    """The score of one architecture, always finite; the same for the same arguments.

    Computed with one thread, since sums depend on how they are split among threads. The
    global random state is left alone.

    Args:
        name: of the proxy.
        architecture: what to score.
        seed: of the weights and images, where the proxy has any.
        image_size: side of those images in pixels, a multiple of 32 from 64 to 1024.

    Raises:
        ConfigError: there is no such proxy, or an argument breaks a rule.
        TrialError: the score is not finite.
    """
    proxy, probe = require_proxy(name), Probe(seed=seed, image_size=image_size)
    with limited_threads(1):
        return proxy.compute(architecture, probe)
