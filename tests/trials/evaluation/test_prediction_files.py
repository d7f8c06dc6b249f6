"""Reading and writing predictions in the text format of WIDER FACE."""

import tarfile
from pathlib import Path

import numpy as np
import pytest

from search_spaces.errors import DataError
from trials.evaluation.prediction_files import read_predictions, write_predictions


def put(folder: Path, text: str, name: str = "e/a.txt") -> Path:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text.encode())
    return path


@pytest.mark.parametrize(
    ("text", "rows"),
    [
        ("a.jpg\n2\n1 2 3 4 0.5\n5.5 6 7 8 1e-2\n", [[1, 2, 3, 4, 0.5], [5.5, 6, 7, 8, 0.01]]),
        ("a\n1\n1 2 3 4 .5", [[1, 2, 3, 4, 0.5]]),
        ("a\r\n1\r\n1 2 3 4 .5 \r\n", [[1, 2, 3, 4, 0.5]]),
        ("any name\n 1 \n1\t2 3  4 .5\n\n\n", [[1, 2, 3, 4, 0.5]]),
        ("a.jpg\n0\n", np.zeros((0, 5))),
    ],
)
def test_name_count_and_rows_with_any_spaces_and_line_ends(
    tmp_path: Path, text: str, rows: list[list[float]]
) -> None:
    put(tmp_path, text)
    ((name, found),) = read_predictions(tmp_path).items()
    assert name == "e/a"
    np.testing.assert_array_equal(found, rows)


@pytest.mark.parametrize(
    ("text", "line", "rule"),
    [
        ("", 2, "number of faces"),
        ("a.jpg\n", 2, "number of faces"),
        ("a.jpg\nmany\n1 2 3 4 5\n", 2, "number of faces, got 'many'"),
        ("a.jpg\n-1\n", 2, "number of faces"),
        ("a.jpg\n1.0\n1 2 3 4 5\n", 2, "number of faces"),
        ("a.jpg\n2\n1 2 3 4 5\n", 2, "announces 2 faces, the file lists 1"),
        ("a.jpg\n1\n1 2 3 4 5\n1 2 3 4 5\n", 2, "announces 1 faces, the file lists 2"),
        ("a.jpg\n2\n1 2 3 4 5\n1 2 3 4\n", 4, "five finite numbers"),
        ("a.jpg\n2\n1 2 3 4\n1 2 3 4 5 6\n", 3, "five finite numbers"),
        ("a.jpg\n1\n1 2 x 4 5\n", 3, "got '1 2 x 4 5'"),
        ("a.jpg\n1\n1 2 nan 4 5\n", 3, "five finite numbers"),
        ("a.jpg\n1\n1 2 3 4 inf\n", 3, "five finite numbers"),
        ("a.jpg\n2\n1 2 3 4 5\n\n1 2 3 4 5\n", 4, "five finite numbers"),
        ("a.jpg\n1\n1_0 2 3 4 5\n", 3, "five finite numbers"),
    ],
)
def test_faults_name_file_and_line(tmp_path: Path, text: str, line: int, rule: str) -> None:
    path = put(tmp_path, text)
    with pytest.raises(DataError) as error:
        read_predictions(tmp_path)
    assert str(error.value).startswith(f"{path}:{line}: ")
    assert rule in str(error.value)


def test_files_of_other_kinds_are_ignored(tmp_path: Path) -> None:
    put(tmp_path, "a.jpg\n0\n")
    put(tmp_path, "not a prediction", "README.txt")
    put(tmp_path, "not a prediction", "e/notes.md")
    assert list(read_predictions(tmp_path)) == ["e/a"]


def test_a_folder_without_predictions_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no <event>/<image>\.txt"):
        read_predictions(tmp_path)
    with pytest.raises(DataError, match="must be a folder"):
        read_predictions(tmp_path / "missing")


def test_written_predictions_read_back_exactly_from_folder_and_archive(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    written = {
        "0--Parade/0_Parade_1": rng.normal(0, 300, (7, 5)),
        "0--Parade/no.faces": np.zeros((0, 5)),
        "1--Other/deep/name with space": rng.random((1, 5)).astype(np.float32),
    }
    write_predictions(tmp_path / "out", written)
    with tarfile.open(tmp_path / "out.tar.gz", "w:gz") as archive:
        archive.add(tmp_path / "out", arcname=".")
    for source in ("out", "out.tar.gz"):
        read = read_predictions(tmp_path / source)
        assert read.keys() == written.keys()
        assert all((read[name] == rows).all() for name, rows in written.items())


def test_the_first_two_lines_are_name_and_count(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()  # an empty folder is taken
    write_predictions(tmp_path / "out", {"e/a": np.array([[1, 2, 3, 4, 0.5]])})
    text = (tmp_path / "out" / "e" / "a.txt").read_text()
    assert text == "a.jpg\n1\n1.0 2.0 3.0 4.0 0.5\n"


@pytest.mark.parametrize("name", ["../a", "e/../../a", "/etc/a", "a", "e//a", "e/a\0b", "e/.."])
def test_names_outside_the_folder_are_refused(tmp_path: Path, name: str) -> None:
    rows = np.array([[1, 2, 3, 4, 0.5]])
    with pytest.raises(DataError, match="event/file"):
        write_predictions(tmp_path / "out", {"e/a": rows, name: rows})
    assert list(tmp_path.iterdir()) == []  # not even a part


@pytest.mark.parametrize("rows", [np.zeros((2, 4)), np.full((1, 5), np.nan)])
def test_malformed_arrays_are_not_written(tmp_path: Path, rows: np.ndarray) -> None:
    with pytest.raises(DataError, match="e/a"):
        write_predictions(tmp_path / "out", {"e/a": rows})
    assert list(tmp_path.iterdir()) == []


def test_a_used_folder_is_refused(tmp_path: Path) -> None:
    put(tmp_path, "mine", "out/precious.txt")
    with pytest.raises(DataError, match="new or empty"):
        write_predictions(tmp_path / "out", {"e/a": np.zeros((0, 5))})
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["precious.txt"]


def test_a_repeated_member_of_an_archive_is_refused(tmp_path: Path) -> None:
    write_predictions(tmp_path / "p", {"1--A/x": np.zeros((0, 5))})
    with tarfile.open(tmp_path / "p.tar", "w") as opened:
        opened.add(tmp_path / "p" / "1--A", arcname="1--A")
        opened.add(tmp_path / "p" / "1--A", arcname="1--A")
    with pytest.raises(DataError, match="twice"):
        read_predictions(tmp_path / "p.tar")


@pytest.mark.parametrize("content", [b"", b"not an archive", b"\x1f\x8b\x08broken"])
def test_a_broken_archive_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "p.tar.gz"
    path.write_bytes(content)
    with pytest.raises(DataError, match="not a readable tar archive"):
        read_predictions(path)


def test_a_folder_with_only_an_archive_names_it(tmp_path: Path) -> None:
    (tmp_path / "p.tar.gz").write_bytes(b"")
    with pytest.raises(DataError, match=r"name it: .*p\.tar\.gz"):
        read_predictions(tmp_path)


def test_hidden_files_are_left_out_of_folders_and_archives(tmp_path: Path) -> None:
    folder = tmp_path / "predictions"
    put(folder, "a\n0\n")
    for hidden in ("e/._a.txt", ".cache/b.txt", "e/.trash/c.txt"):
        put(folder, "\x00\x05\x16\x07", hidden)
    with tarfile.open(tmp_path / "all.tar", "w") as archive:
        archive.add(folder, ".")
    assert list(read_predictions(folder)) == ["e/a"]
    assert list(read_predictions(tmp_path / "all.tar")) == ["e/a"]


def test_a_file_that_would_fill_the_memory_is_not_read(tmp_path: Path) -> None:
    with put(tmp_path, "a\n0\n").open("r+b") as stream:
        stream.truncate(343 << 20)
    with pytest.raises(DataError, match="may have 64 MiB, got 343 MiB"):
        read_predictions(tmp_path)


@pytest.mark.parametrize("name", ["../e/a.txt", "e/../../a.txt", "/etc/e/a.txt", "./../e/a.txt"])
def test_a_member_outside_the_archive_is_refused(tmp_path: Path, name: str) -> None:
    with tarfile.open(tmp_path / "p.tar", "w") as archive:
        archive.addfile(tarfile.TarInfo(name))
    with pytest.raises(DataError, match="must stay inside the archive, got '"):
        read_predictions(tmp_path / "p.tar")


def test_links_and_devices_in_an_archive_are_left_out(tmp_path: Path) -> None:
    secret = put(tmp_path, "a\n0\n", "outside/secret.txt")
    kinds = [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.FIFOTYPE, tarfile.DIRTYPE]
    with tarfile.open(tmp_path / "p.tar", "w") as archive:
        archive.add(secret, "e/a.txt")
        for number, kind in enumerate(kinds):
            member = tarfile.TarInfo(f"e/{number}.txt")
            member.type, member.linkname = kind, str(secret)
            archive.addfile(member)
    assert list(read_predictions(tmp_path / "p.tar")) == ["e/a"]
