"""Reading and writing of small files."""

from pathlib import Path

import pytest

from search_spaces.errors import ConfigError
from search_spaces.files import MAX_CONFIG_BYTES, read_json, write_json


def test_json_round_trip(tmp_path: Path) -> None:
    content = {"hard": 0.5, "names": ["a", None]}
    write_json(tmp_path / "x.json", content)
    assert read_json(tmp_path / "x.json") == content


@pytest.mark.parametrize("text", ["", "{", "[1,]", "[" * 100_000, '{"a":' * 9999])
def test_invalid_json_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "x.json"
    path.write_text(text)
    with pytest.raises(ConfigError, match=r"x\.json: is not valid JSON \("):
        read_json(path)


def test_large_files_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    path.write_text(" " * (MAX_CONFIG_BYTES + 1))
    with pytest.raises(ConfigError, match="may have 1 MiB"):
        read_json(path)
