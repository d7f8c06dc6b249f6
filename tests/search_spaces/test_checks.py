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


def test_integers_become_ints_and_need_no_upper_limit() -> None:
    assert type(require_integer(np.int32(7), "x", 1, 8)) is int
    assert require_integer(10**30, "x", 1) == 10**30
    with pytest.raises(ConfigError, match="x must be an integer of at least 1, got 0"):
        require_integer(0, "x", 1)


@pytest.mark.parametrize("value", [0, 9, True, 1.0, "3", None])
def test_non_integers_and_values_out_of_range_are_refused(value: Any) -> None:
    with pytest.raises(ConfigError, match=r"^x must be an integer from 1 to 8, got "):
        require_integer(value, "x", 1, 8)


@pytest.mark.parametrize("value", [-0.1, 1.1, True, "0.5", None, float("nan"), float("inf")])
def test_non_numbers_and_values_out_of_range_are_refused(value: Any) -> None:
    with pytest.raises(ConfigError, match=r"^x must be a finite number from 0 to 1, got "):
        require_number(value, "x", 0, 1)


def test_numbers_become_floats_if_a_float_can_hold_them() -> None:
    assert type(require_number(1, "x", 0)) is float
    with pytest.raises(ConfigError, match="x must be a finite number of at least 0, got -1"):
        require_number(-1, "x", 0)
    for value in (10**400, -(10**400), float("inf"), float("nan")):
        with pytest.raises(ConfigError, match="x must be a finite number"):
            require_number(value, "x", float("-inf"))


def test_mappings_have_known_and_all_required_keys() -> None:
    assert require_mapping({"a": 1}, "it", ["a", "b"], ["a"]) == {"a": 1}
    with pytest.raises(ConfigError, match=r"it has unknown keys \['c'\]; known are \['a', 'b'\]"):
        require_mapping({"c": 1}, "it", ["a", "b"])
    with pytest.raises(ConfigError, match=r"it lacks the keys \['a'\]"):
        require_mapping({"b": 1}, "it", ["a", "b"], ["a"])
    with pytest.raises(ConfigError, match="it must be a mapping, got list"):
        require_mapping(["a"], "it", ["a"])


def test_dataclass_fields_without_default_are_required() -> None:
    assert Pair(**require_fields(Pair, {"first": 1}, "the pair")) == Pair(1)
    with pytest.raises(ConfigError, match=r"the pair lacks the keys \['first'\]"):
        require_fields(Pair, {"second": 1}, "the pair")
