import json
import re
from pathlib import Path

import pytest
from command_line import CommandLine

from trials.data.labels import read_labelv2


@pytest.fixture
def drawn(tmp_path: Path, cli: CommandLine) -> Path:
    root = tmp_path / "drawn"
    arguments = ["data", "generate", str(root), "--num-train", "3", "--num-val", "2"]
    cli.run([*arguments, "--size", "80", "90", "--seed", "5"])
    return root


def test_generate_draws_and_reports(tmp_path: Path, cli: CommandLine) -> None:
    out = tmp_path / "g"
    found = cli.json(["data", "generate", out, "--num-train", 2, "--num-val", 1])
    assert found == {"out": str(out), "train": 2, "val": 1, "seed": 0}
    assert len(read_labelv2(out / "train/labelv2.txt", out)) == 2


def test_check_of_a_sound_set_exits_with_0(drawn: Path, cli: CommandLine) -> None:
    assert cli.json(["data", "check", drawn])["faults"] == []
    assert "no faults" in cli.run(["data", "check", str(drawn)]).out


def test_check_names_faults_and_exits_with_1(drawn: Path, cli: CommandLine) -> None:
    labels = drawn / "train/labelv2.txt"
    labels.write_text("# a.jpg 5 5\n1 2 3\n")
    found = json.loads(cli.run(["data", "check", drawn, "--json"], 1).out)
    assert [fault["line"] for fault in found["faults"]] == [2, 1]
    shown = cli.run(["data", "check", "--fast", str(drawn)], 1).out
    assert f"{labels}:2: " in shown
    assert "2 faults" in shown
    assert "training leaves out 1 of 1 images (100.0 %)" in shown


def test_check_names_images_without_a_face_that_counts(drawn: Path, cli: CommandLine) -> None:
    labels = drawn / "train/labelv2.txt"
    labels.write_text(re.sub(r"^([\d. ]+) .*", r"1 1 9 9 1", labels.read_text(), flags=re.M))
    name = read_labelv2(labels, drawn)[0].name
    shown = cli.run(["data", "check", str(drawn)]).out
    assert "(100.0 %): 0 with faulty labels, 3 without a face that counts" in shown
    assert f"{name}: no face that counts" in shown
    assert "no faults" in shown


def test_imports_write_labels(drawn: Path, tmp_path: Path, cli: CommandLine) -> None:
    name = read_labelv2(drawn / "train/labelv2.txt", drawn)[0].name
    numbers = "1 2 30 40 0 0 0 0 0 0"
    (tmp_path / "wider.txt").write_text(f"{name}\n1\n{numbers}\n")
    (tmp_path / "retina.txt").write_text(f"# {name}\n1 2 30 40\n")
    for kind in ("widerface", "retinaface"):
        out = tmp_path / kind / "train"
        arguments = ["--annotations", str(tmp_path / f"{kind.removesuffix('face')}.txt")]
        arguments += ["--images", str(drawn / "train/images"), "--out", str(out)]
        found = cli.json(["data", f"import-{kind}", *arguments])
        assert (found["images"], found["faces"], found["dropped"]) == (1, 1, 0)
        (image,) = read_labelv2(out / "labelv2.txt", out / "images")
        assert image.faces.boxes_N4.tolist() == [[1, 2, 31, 42]]


def test_a_missing_folder_and_a_missing_argument_are_errors(
    tmp_path: Path, cli: CommandLine
) -> None:
    assert "nowhere" in cli.run(["data", "check", str(tmp_path / "nowhere")], 1).err
    cli.run(["data", "generate"], 2)
