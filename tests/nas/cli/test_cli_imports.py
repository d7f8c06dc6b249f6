"""Labels of other formats, through the command line."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
import tiny
from command_line import CommandLine
from images import noise, save_image

from trials.data.labels import read_labelv2

VOC = """<annotation><filename>a.png</filename><object><name>face</name><bndbox><xmin>1</xmin>
<ymin>2</ymin><xmax>21</xmax><ymax>32</ymax></bndbox></object></annotation>"""


@pytest.fixture
def run(cli: CommandLine):
    return lambda *arguments: cli.run(["data", *arguments]).out


def test_a_set_exported_to_coco_and_imported_again_has_the_same_labels(
    run, cli: CommandLine, tmp_path: Path
) -> None:
    source = tiny.make_data(tmp_path / "data", 4, 1) / "train"
    run("export-coco", source.parent, "--split", "train", "--out", tmp_path / "faces.json")
    common = ["--annotations", tmp_path / "faces.json", "--images", source / "images"]
    text = run("import-coco", *common, "--out", tmp_path / "again/train")
    assert "4 images" in text
    again = read_labelv2(tmp_path / "again/train/labelv2.txt", source / "images")
    for image, before in zip(
        again, read_labelv2(source / "labelv2.txt", source / "images"), strict=True
    ):
        assert (image.name, image.width, image.height) == (before.name, before.width, before.height)
        assert np.array_equal(image.faces.boxes_N4, before.faces.boxes_N4)

    out = tmp_path / "divided"
    found = json.loads(run("import-coco", *common, "--out", out, "--val-share", "0.25", "--json"))
    assert [report["images"] for report in found.values()] == [3, 1]
    names = [
        {image.name for image in read_labelv2(out / split / "labelv2.txt", out)}
        for split in ("train", "val")
    ]
    assert not names[0] & names[1]
    printed = cli.fail(
        ["data", "import-coco", *common, "--out", tmp_path / "none", "--val-share", "0.01"]
    )
    assert "must leave images in both splits, got 0.01 of 4 images" in printed


def test_yolo_and_voc_labels_are_imported(run, tmp_path: Path) -> None:
    save_image(tmp_path / "images/a.png", noise(40, 50))
    for folder, file, text in (("labels", "a.txt", "0 0.22 0.425 0.4 0.75"), ("xml", "a.xml", VOC)):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / file).write_text(text)
    run("import-yolo", "--images", tmp_path / "images", "--out", tmp_path / "yolo/train")
    command = ["import-voc", "--annotations", tmp_path / "xml", "--images", tmp_path / "images"]
    run(*command, "--class", "face", "--copy", "--out", tmp_path / "voc/train")
    for name in ("yolo", "voc"):
        (image,) = read_labelv2(tmp_path / name / "train/labelv2.txt", tmp_path)
        assert np.allclose(image.faces.boxes_N4, [[1, 2, 21, 32]], atol=1e-4)
    assert not (tmp_path / "voc/train/images").is_symlink()


def test_a_label_for_the_photo_as_stored_is_named(cli: CommandLine, tmp_path: Path) -> None:
    save_image(tmp_path / "images/a.png", noise(40, 50))
    content = {
        "images": [{"id": 1, "file_name": "a.png", "width": 40, "height": 50}],
        "annotations": [],
        "categories": [{"id": 1, "name": "face"}],
    }
    (tmp_path / "faces.json").write_text(json.dumps(content))
    command = ["import-coco", "--annotations", tmp_path / "faces.json", "--out", tmp_path / "out"]
    printed = cli.fail(["data", *command, "--images", tmp_path / "images"])
    assert re.search(
        r"a\.png: has 50 x 40 .* if an EXIF orientation turns the photo, label it upright", printed
    )
