"""Reading and writing of small files."""

import os
from pathlib import Path

import pytest

from search_spaces.errors import ConfigError
from search_spaces.files import MAX_CONFIG_BYTES, read_json, visible_files, write_json


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


def test_files_below_a_folder_are_listed_without_hidden_ones_and_cycles(tmp_path: Path) -> None:
    names = [
        "b.JPG",
        "a.jpg",
        "c/d.jpg",
        "x.txt",
        "._a.jpg",
        ".cache/e.jpg",
        "c/.h/f.jpg",
        "a..jpg",
    ]
    for name in names:
        (tmp_path / "top" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "top" / name).touch()
    (tmp_path / "top/c/up").symlink_to(tmp_path / "top")
    (tmp_path / "more").mkdir()
    (tmp_path / "more/g.jpg").touch()
    (tmp_path / "top/z").symlink_to(tmp_path / "more")
    found = [
        str(Path(path).relative_to(tmp_path / "top"))
        for path in visible_files(tmp_path / "top", (".jpg",))
    ]
    assert found == ["a..jpg", "a.jpg", "b.JPG", "c/d.jpg", "z/g.jpg"]
    assert len(list(visible_files(tmp_path / "top"))) == 6


def test_pipes_are_left_out_and_broken_links_are_listed(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.jpg")
    (tmp_path / "gone.jpg").symlink_to("nothing")
    assert list(visible_files(tmp_path, (".jpg",))) == [str(tmp_path / "gone.jpg")]


def test_the_path_of_the_folder_itself_may_be_hidden(tmp_path: Path) -> None:
    (tmp_path / ".mine").mkdir()
    (tmp_path / ".mine/a.jpg").touch()
    assert list(visible_files(tmp_path / ".mine")) == [str(tmp_path / ".mine/a.jpg")]
