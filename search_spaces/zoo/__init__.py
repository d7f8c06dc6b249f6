"""The published SCRFD family and its baselines, addressed by name (one YAML file each)."""

import difflib
import os
from functools import cache
from pathlib import Path

from search_spaces.architecture import Architecture, load_architecture
from search_spaces.errors import ConfigError

_FOLDER = Path(__file__).parent
_FAMILIES = ("scrfd", "resnet", "mobilenet")


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


def _suggestion(name: str) -> str:
    close = difflib.get_close_matches(name, zoo_names(), n=3)
    if close:
        return f"did you mean {' or '.join(close)}?"
    return f"built in are {', '.join(zoo_names())}"


def _order(name: str) -> tuple[int, int, float]:
    """Sort by family, plain before key points, then size: `scrfd_2.5g_kps` is (0, 1, 2.5)."""
    family, size, *variant = name.split("_")
    return _FAMILIES.index(family), len(variant), float(size.removesuffix("g"))
