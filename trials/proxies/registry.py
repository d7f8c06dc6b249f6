"""The proxies by name. A higher score is more promising; `-NAME` negates a proxy.

Which of the two ranks the candidates of a search, if any, is not known beforehand: compare each
with the APs of finished trials. Short trainings, for instance, favour shallow networks.
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
        name: name for users.
        about: the formula in a few words.
        compute: function from architecture and probe to the score.
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
    """Return the proxy of this name; `-NAME` is the negative of NAME.

    Raises:
        ConfigError: the name is unknown.
    """
    text = name if isinstance(name, str) else ""
    proxy = PROXIES.get(text.removeprefix(_OPPOSITE))
    if proxy is None:
        known = ", ".join(PROXIES)
        raise ConfigError(f"a proxy is one of {known}, or its opposite (-zen), got {name!r}")
    if not text.startswith(_OPPOSITE):
        return proxy
    return Proxy(
        name=text,
        about=f"less {proxy.about}",
        compute=lambda architecture, probe: -proxy.compute(architecture, probe),
    )


def score(
    name: str, architecture: Architecture, *, seed: int = 0, image_size: int = IMAGE_SIZE
) -> float:
    """Return the finite score of an architecture; equal arguments give equal scores.

    It is computed with one thread, since sums depend on their split among threads. The
    global random state is not used.

    Args:
        name: name of the proxy.
        architecture: the architecture to score.
        seed: seed of the weights and images.
        image_size: side of the images in pixels, a multiple of 32 from 64 to 1024.

    Raises:
        ConfigError: the proxy is unknown, or an argument breaks a rule.
        TrialError: the score is not finite.
    """
    proxy, probe = require_proxy(name), Probe(seed=seed, image_size=image_size)
    with limited_threads(1):
        return proxy.compute(architecture, probe)
