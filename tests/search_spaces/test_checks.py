from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

from search_spaces.checks import require_fields, require_integer, require_mapping, require_number
from search_spaces.errors import ConfigError


@dataclass(frozen=True)
class Pair:
    first: int
    second: int = 2


def test_integers_of_numpy_become_pythons() -> None:
    assert type(require_integer(np.int32(7), "x", 1, 8)) is int


@pytest.mark.parametrize("value", [0, 9, True, 1.0, "3", None])
def test_what_is_no_integer_in_the_limits_is_refused(value: Any) -> None:
    with pytest.raises(ConfigError, match=r"^x must be an integer from 1 to 8, got "):
        require_integer(value, "x", 1, 8)


def test_an_integer_may_have_no_upper_limit() -> None:
    assert require_integer(10**30, "x", 1) == 10**30
    with pytest.raises(ConfigError, match="x must be an integer of at least 1, got 0"):
        require_integer(0, "x", 1)


@pytest.mark.parametrize("value", [-0.1, 1.1, True, "0.5", None, float("nan"), float("inf")])
def test_what_is_no_number_in_the_limits_is_refused(value: Any) -> None:
    with pytest.raises(ConfigError, match=r"^x must be a finite number from 0 to 1, got "):
        require_number(value, "x", 0, 1)


def test_a_number_becomes_a_float() -> None:
    assert type(require_number(1, "x", 0)) is float
    with pytest.raises(ConfigError, match="x must be a finite number of at least 0, got -1"):
        require_number(-1, "x", 0)


def test_a_mapping_has_known_keys_and_all_required_ones() -> None:
    assert require_mapping({"a": 1}, "it", ["a", "b"], ["a"]) == {"a": 1}
    with pytest.raises(ConfigError, match=r"it has unknown keys \['c'\]; known are \['a', 'b'\]"):
        require_mapping({"c": 1}, "it", ["a", "b"])
    with pytest.raises(ConfigError, match=r"it lacks the keys \['a'\]"):
        require_mapping({"b": 1}, "it", ["a", "b"], ["a"])
    with pytest.raises(ConfigError, match="it must be a mapping, got list"):
        require_mapping(["a"], "it", ["a"])


def test_fields_of_a_dataclass_are_required_unless_they_have_a_default() -> None:
    assert Pair(**require_fields(Pair, {"first": 1}, "the pair")) == Pair(1)
    with pytest.raises(ConfigError, match=r"the pair lacks the keys \['first'\]"):
        require_fields(Pair, {"second": 1}, "the pair")


@pytest.mark.parametrize("value", [10**400, -(10**400), float("inf"), float("nan")])
def test_what_no_float_can_hold_is_refused(value: float) -> None:
    with pytest.raises(ConfigError, match="x must be a finite number"):
        require_number(value, "x", float("-inf"))
