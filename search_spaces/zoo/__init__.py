"""The published SCRFD family and its baselines, addressed by name (one YAML file each)."""

import difflib
import os
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from search_spaces.architecture import Architecture, load_architecture
from search_spaces.cost.detector import flops_by_part, params_by_part, total
from search_spaces.errors import ConfigError
from search_spaces.zoo.published import PUBLISHED

_FOLDER = Path(__file__).parent
_FAMILIES = ("scrfd", "resnet", "mobilenet")


@dataclass(frozen=True, kw_only=True)
class ZooModel:
    """Properties of one built-in architecture.

    Attributes:
        name: built-in name, for `load_zoo` and the command line.
        block: kind of the blocks of the backbone.
        budget: nominal multiply-adds at VGA, as in the name.
        flops: multiply-adds at 480x640, as fvcore counts them.
        params: number of parameters.
        keypoints: number of key points of a face, 0 for boxes only.
        easy, medium, hard: published WIDER FACE APs (640 epochs, VGA) as fractions; None where
            none were published.
        hash: content hash of the architecture.
    """

    name: str
    block: str
    budget: int
    flops: int
    params: int
    keypoints: int
    easy: float | None
    medium: float | None
    hard: float | None
    hash: str


def list_models() -> tuple[ZooModel, ...]:
    """Return the properties of all built-in architectures, in the order of `zoo_names`."""
    return tuple(map(_properties, zoo_names()))


@cache
def zoo_names() -> tuple[str, ...]:
    """Return the names of all built-in architectures: SCRFD by size, then the baselines."""
    return tuple(sorted((path.stem for path in _FOLDER.glob("[!.]*.yaml")), key=_order))


def load_zoo(name: str) -> Architecture:
    """Return the built-in architecture called `name`.

    Raises:
        ConfigError: no such architecture; the message lists the nearest names.
    """
    if name not in zoo_names():
        raise ConfigError(f"no built-in architecture is called {name!r}; {_suggestion(name)}")
    return load_architecture(_FOLDER / f"{name}.yaml")


def resolve_architecture(reference: str) -> Architecture:
    """Return the architecture of a built-in name or of the path of a YAML file.

    A built-in name precedes a file of the same name; write `./name` for the file.

    Raises:
        ConfigError: `reference` is neither, or the file breaks a rule.
    """
    if reference in zoo_names():
        return load_zoo(reference)
    path = Path(reference)
    if (reference and os.path.exists(path)) or path.suffix in (".yaml", ".yml"):
        return load_architecture(path)
    raise ConfigError(
        f"{reference!r} is neither a file nor a built-in architecture; {_suggestion(reference)}"
    )


def _properties(name: str) -> ZooModel:
    built_in = load_zoo(name)
    aps = {_zoo_name(row.name): (row.easy, row.medium, row.hard) for row in PUBLISHED}
    easy, medium, hard = aps.get(name, (None, None, None))
    return ZooModel(
        name=name,
        block=built_in.backbone.block,
        budget=round(_size(name) * 1e9),
        flops=total(flops_by_part(built_in)),
        params=total(params_by_part(built_in)),
        keypoints=built_in.head.keypoints,
        easy=easy,
        medium=medium,
        hard=hard,
        hash=built_in.content_hash,
    )


def _zoo_name(published: str) -> str:
    """Return `scrfd_2.5g_kps` for `SCRFD-2.5GF-KPS`."""
    return published.lower().replace("gf", "g").replace("-", "_")


def _size(name: str) -> float:
    """Return the billions of multiply-adds in a name: 2.5 for `scrfd_2.5g_kps`."""
    return float(name.split("_")[1].removesuffix("g"))


def _suggestion(name: str) -> str:
    close = difflib.get_close_matches(name, zoo_names(), n=3)
    if close:
        return f"did you mean {' or '.join(close)}?"
    return f"built in are {', '.join(zoo_names())}"


def _order(name: str) -> tuple[int, int, float]:
    """Sort by family, plain before key points, then size: `scrfd_2.5g_kps` is (0, 1, 2.5)."""
    family, _, *variant = name.split("_")
    return _FAMILIES.index(family), len(variant), _size(name)
