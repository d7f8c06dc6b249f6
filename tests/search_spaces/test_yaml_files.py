"""YAML of any origin: parsed strictly and in bounded time, or refused in one line."""

import time
from pathlib import Path

import pytest

from search_spaces.errors import ConfigError
from search_spaces.yaml_files import dump_yaml, parse_yaml, read_yaml


@pytest.mark.parametrize(
    ("text", "value"),
    [("1e-2", 0.01), ("1E3", 1000.0), ("-2e+1", -20.0), ("1.5e3", 1500.0), (".5e1", 5.0)],
)
def test_an_exponent_without_a_point_is_a_number(text: str, value: float) -> None:
    assert parse_yaml(f"rate: {text}", "x") == {"rate": value}


@pytest.mark.parametrize("text", ["1e", "e5", "1e5x", "0x1e5", "1e-"])
def test_other_words_stay_text(text: str) -> None:
    assert isinstance(parse_yaml(text, "x"), str | int)


@pytest.mark.parametrize("word", ["1e5", "12e4567890123456", "0123e1", "1.5e3", "yes", "1_0e2"])
def test_text_that_looks_like_a_number_reads_back_as_text(word: str) -> None:
    assert parse_yaml(dump_yaml({"hash": word}), "x") == {"hash": word}


def test_a_byte_order_mark_is_no_part_of_the_first_key(tmp_path: Path) -> None:
    path = tmp_path / "x.yaml"
    path.write_bytes(b"\xef\xbb\xbfflops: 5")
    assert read_yaml(path) == {"flops": 5}


def test_a_key_that_occurs_twice_is_named_with_its_line() -> None:
    with pytest.raises(
        ConfigError, match=r"x: is not valid YAML: line 2: the key 'b' occurs twice"
    ):
        parse_yaml("a:\n  b: 1\n  c: 2\n  b: 3\n", "x")


@pytest.mark.parametrize("text", ["[" * 20_000, "{a: " * 20_000, "- " * 20_000, "? " * 20_000])
def test_deep_nesting_is_refused_before_the_rest_is_parsed(text: str) -> None:
    start = time.process_time()
    with pytest.raises(ConfigError, match=r"x: .*line 1: .*(nested more|nesting)"):
        parse_yaml(text, "x")
    assert time.process_time() - start < 5  # it took 25 s to parse the whole


def test_aliases_are_refused() -> None:
    with pytest.raises(ConfigError, match="aliases are not accepted"):
        parse_yaml("a: &x [1]\nb: *x", "x")


@pytest.mark.parametrize("text", ["a: [", "\t- b", "!!python/object:x.y {}", "a: 2020-13-45"])
def test_what_is_not_plain_yaml_is_named(text: str) -> None:
    with pytest.raises(ConfigError, match="x: is not valid YAML: "):
        parse_yaml(text, "x")
