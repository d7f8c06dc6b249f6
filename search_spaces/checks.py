"""Checks of single values, for dataclasses that are validated on construction."""

import math
import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import MISSING, fields
from typing import Any

from search_spaces.errors import ConfigError, shown


def is_number(value: object) -> bool:
    """Return whether `value` is an int or a float; True and False are not."""
    return isinstance(value, int | float) and not isinstance(value, bool)


def require_integer(value: Any, label: str, low: int, high: int | None = None) -> int:
    """Return `value` as an int from `low` to `high`; numpy integers are accepted.

    Raises:
        ConfigError: it is not an integer or out of range.
    """
    is_integer = hasattr(value, "__index__") and not isinstance(value, bool)
    if not is_integer or value < low or (high is not None and value > high):
        limits = f"of at least {low}" if high is None else f"from {low} to {high}"
        raise ConfigError(f"{label} must be an integer {limits}, got {shown(value)}")
    return int(value)


def require_number(value: Any, label: str, low: float, high: float = math.inf) -> float:
    """Return `value` as a finite float from `low` to `high`. Raises ConfigError otherwise."""
    # Comparing an integer beyond the largest float is safe, converting it would overflow.
    if not is_number(value) or not abs(value) <= sys.float_info.max or not low <= value <= high:
        limits = f"of at least {low:g}" if high == math.inf else f"from {low:g} to {high:g}"
        raise ConfigError(f"{label} must be a finite number {limits}, got {shown(value)}")
    return float(value)


def store_checked(
    instance: object, check: Callable[..., Any], names: Iterable[str], *limits: float
) -> None:
    """Replace fields of a frozen dataclass instance by `check(value, name, *limits)`."""
    for name in names:
        object.__setattr__(instance, name, check(getattr(instance, name), name, *limits))


def require_mapping(
    content: Any, label: str, known: Iterable[str], required: Iterable[str] = ()
) -> dict[str, Any]:
    """Return `content` as a dict whose keys are in `known` and include all of `required`.

    Raises:
        ConfigError: a rule is broken; the message begins with `label`.
    """
    if not isinstance(content, Mapping):
        raise ConfigError(f"{label} must be a mapping, got {type(content).__name__}")
    names = list(known)
    unknown = sorted(str(key) for key in content if key not in names)
    if unknown:
        raise ConfigError(f"{label} has unknown keys {unknown}; known are {names}")
    missing = [name for name in required if name not in content]
    if missing:
        raise ConfigError(f"{label} lacks the keys {missing}")
    return dict(content)


def require_fields(cls: type[Any], content: Any, label: str) -> dict[str, Any]:
    """Return `content` as keyword arguments of the dataclass `cls`. Raises ConfigError."""
    own = fields(cls)
    without_default = [f.name for f in own if f.default is f.default_factory is MISSING]
    return require_mapping(content, label, [f.name for f in own], without_default)
