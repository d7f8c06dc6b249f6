"""Stage-1 spaces from other packages, by the entry-point group `scrfd_nas.search_spaces`.

`--space` takes the name of an entry point. The entry point is a function of the FLOPs target,
the tolerance and the `ranges` of `--config` (an empty mapping without them) that returns a
`PluggedSpace`. docs/SEARCH_SPACES.md has a worked example.
"""

from collections.abc import Callable, Mapping
from importlib.metadata import EntryPoint, entry_points
from typing import Any, Protocol, TypeAlias, cast

import numpy as np

from search_spaces.architecture import Architecture
from search_spaces.cost.constraints import Window, flops_window
from search_spaces.cost.detector import flops_by_part, total
from search_spaces.errors import ConfigError, InfeasibleError, ScrfdNasError
from search_spaces.spaces.sample import Sample

GROUP = "scrfd_nas.search_spaces"
BUILT_IN = ("auto", "mobile", "resnet")


class PluggedSpace(Protocol):
    """Interface of a stage-1 space."""

    def sample(self, generator: np.random.Generator, num: int) -> Sample:
        """Return up to `num` distinct architectures with FLOPs within the tolerance.

        They depend on the generator only, and a larger `num` with an equal generator gives the
        same architectures first, as searches are continued and extended. Fewer are returned
        only if there are no more, and `note` says so.
        """


Factory: TypeAlias = Callable[[int, float, Mapping[str, Any]], PluggedSpace]


def plugged_names() -> list[str]:
    """Return the names of the installed plug-ins."""
    return sorted({point.name for point in entry_points(group=GROUP)})


def require_space(name: object) -> None:
    """Raise ConfigError unless `name` is a built-in space or a plug-in."""
    if name not in BUILT_IN and name not in plugged_names():
        raise _unknown_space(name)


def sample_plugged(
    name: str,
    generator: np.random.Generator,
    num: int,
    *,
    flops: int,
    tolerance: float,
    ranges: Mapping[str, Any],
) -> Sample:
    """Return a checked sample of the plug-in `name`.

    Raises:
        ConfigError: there is no such plug-in, it fails, or its sample breaks a rule.
        InfeasibleError: it has no architecture of such FLOPs.
    """
    try:
        space = _factory(name)(flops, tolerance, ranges)
        sample = space.sample(generator, num)
    except ScrfdNasError:
        raise
    except Exception as error:  # the plug-in may raise anything
        text = " ".join(f"{type(error).__name__}: {error}".split())
        raise ConfigError(f"--space {name}: the plug-in failed ({text})") from error
    _check(name, sample, flops_window(flops, tolerance), num)
    return sample


def _factory(name: str) -> Factory:
    points = [point for point in entry_points(group=GROUP) if point.name == name]
    if not points:
        raise _unknown_space(name)
    return cast(Factory, _load(points[0]))


def _unknown_space(name: object) -> ConfigError:
    """Return the error that lists the values of `--space`."""
    plugged = plugged_names()
    others = f"or a plug-in's ({', '.join(plugged)})" if plugged else "and no plug-in is installed"
    rule = f"--space must be {', '.join(BUILT_IN)}, {others}"
    return ConfigError(f"{rule}, got {name!r}; see docs/SEARCH_SPACES.md")


def _load(point: EntryPoint) -> Any:
    try:
        loaded = point.load()
    except Exception as error:
        rule = f"--space {point.name}: {point.value} cannot be loaded"
        raise ConfigError(f"{rule} ({' '.join(str(error).split())})") from error
    if not callable(loaded):
        kind = type(loaded).__name__
        raise ConfigError(f"--space {point.name}: {point.value} must be a function, got {kind}")
    return loaded


def _check(name: str, sample: object, window: Window, num: int) -> None:
    """Check the result of `PluggedSpace.sample`. Raises ConfigError, InfeasibleError."""
    if not isinstance(sample, Sample):
        rule = "sample() must return a search_spaces.spaces.sample.Sample"
        raise ConfigError(f"--space {name}: {rule}, got {type(sample).__name__}")
    found = sample.architectures
    if not found:
        raise InfeasibleError(
            f"--space {name} has no architecture of {window[0]:,} to {window[1]:,} FLOPs: relax "
            "--tolerance or change --flops"
        )
    if len(found) > num or len(set(found)) < len(found):
        rule = f"sample() must return up to {num} distinct architectures"
        raise ConfigError(f"--space {name}: {rule}, got {len(found)} ({len(set(found))} distinct)")
    for number, architecture in enumerate(found, start=1):
        _check_flops(name, number, architecture, window)


def _check_flops(name: str, number: int, architecture: object, window: Window) -> None:
    if not isinstance(architecture, Architecture):
        kind = type(architecture).__name__
        raise ConfigError(f"--space {name}: candidate {number} must be an Architecture, got {kind}")
    flops = total(flops_by_part(architecture))
    if not window[0] <= flops <= window[1]:
        rule = f"candidate {number} must have {window[0]:,} to {window[1]:,} FLOPs"
        raise ConfigError(f"--space {name}: {rule}, got {flops:,}")
