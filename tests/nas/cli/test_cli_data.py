import json
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from nas.cli.models import data
from search_spaces.errors import DataError
from trials.data.labels import read_labelv2


@pytest.fixture
def app() -> typer.Typer:
    application = typer.Typer()
    data.register(application)
    return application


@pytest.fixture
def drawn(app: typer.Typer, tmp_path: Path) -> Path:
    root = tmp_path / "drawn"
    arguments = ["generate", str(root), "--num-train", "3", "--num-val", "2", "--size", "80", "90"]
    result = CliRunner().invoke(app, ["data", *arguments, "--seed", "5"])
    assert result.exit_code == 0, result.output
    return root


def document(app: typer.Typer, *arguments: str) -> tuple[int, dict[str, object]]:
    """Exit code of a command, and the one JSON document on its standard output."""
    result = CliRunner().invoke(app, ["data", *arguments, "--json"])
    return result.exit_code, json.loads(result.stdout)


def test_generate_draws_and_reports(app: typer.Typer, tmp_path: Path) -> None:
    out = tmp_path / "g"
    code, found = document(app, "generate", str(out), "--num-train", "2", "--num-val", "1")
    assert code == 0
    assert found == {"out": str(out), "train": 2, "val": 1, "seed": 0}
    assert len(read_labelv2(out / "train/labelv2.txt", out)) == 2


def test_check_of_a_sound_set_exits_with_0(app: typer.Typer, drawn: Path) -> None:
    code, found = document(app, "check", str(drawn))
    assert code == 0
    assert found["faults"] == []
    result = CliRunner().invoke(app, ["data", "check", str(drawn)])
    assert result.exit_code == 0
    assert "no faults" in result.stdout


def test_check_names_faults_and_exits_with_1(app: typer.Typer, drawn: Path) -> None:
    labels = drawn / "train/labelv2.txt"
    labels.write_text("# a.jpg 5 5\n1 2 3\n")
    code, found = document(app, "check", str(drawn))
    assert code == 1
    assert [fault["line"] for fault in found["faults"]] == [2, 1]  # type: ignore[attr-defined]
    result = CliRunner().invoke(app, ["data", "check", "--fast", str(drawn)])
    assert result.exit_code == 1
    assert f"{labels}:2: " in result.stdout.replace("\n", "")
    assert "2 faults" in result.stdout


def test_imports_write_labels(app: typer.Typer, drawn: Path, tmp_path: Path) -> None:
    name = read_labelv2(drawn / "train/labelv2.txt", drawn)[0].name
    numbers = "1 2 30 40 0 0 0 0 0 0"
    (tmp_path / "wider.txt").write_text(f"{name}\n1\n{numbers}\n")
    (tmp_path / "retina.txt").write_text(f"# {name}\n1 2 30 40\n")
    for kind in ("widerface", "retinaface"):
        out = tmp_path / kind / "train"
        arguments = ["--annotations", str(tmp_path / f"{kind.removesuffix('face')}.txt")]
        arguments += ["--images", str(drawn / "train/images"), "--out", str(out)]
        code, found = document(app, f"import-{kind}", *arguments)
        assert code == 0
        assert (found["images"], found["faces"], found["dropped"]) == (1, 1, 0)
        (image,) = read_labelv2(out / "labelv2.txt", out / "images")
        assert image.faces.boxes_N4.tolist() == [[1, 2, 31, 42]]


def test_faults_of_the_user_are_our_errors(app: typer.Typer, tmp_path: Path) -> None:
    result = CliRunner().invoke(app, ["data", "check", str(tmp_path / "nowhere")])
    assert isinstance(result.exception, DataError)
    assert CliRunner().invoke(app, ["data", "generate"]).exit_code == 2
