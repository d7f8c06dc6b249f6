"""Pascal VOC files: corners, difficult objects, classes by name, hostile XML."""

from pathlib import Path

import pytest

from search_spaces.errors import DataError
from trials.data.formats.voc import read_voc

OBJECT = (
    "<object><name>{name}</name><difficult>{difficult}</difficult><bndbox><xmin>1</xmin>"
    "<ymin>2</ymin><xmax>11</xmax><ymax>22.5</ymax></bndbox></object>"
)


def voc(folder: Path, *objects: tuple[str, int], filename: str = "a.jpg") -> Path:
    (folder / "JPEGImages").mkdir(exist_ok=True)
    (folder / "JPEGImages" / "a.jpg").touch()
    (folder / "Annotations").mkdir(exist_ok=True)
    body = "".join(OBJECT.format(name=name, difficult=flag) for name, flag in objects)
    size = "<size><width>30</width><height>40</height><depth>3</depth></size>"
    text = f"<annotation><filename>{filename}</filename>{size}{body}</annotation>"
    (folder / "Annotations" / "a.xml").write_text(text)
    return folder


def read(folder: Path, wanted: str | None = None):
    return read_voc(folder / "Annotations", folder / "JPEGImages", wanted)


def test_corners_size_and_difficult_objects(tmp_path: Path) -> None:
    (image,) = read(voc(tmp_path, ("face", 0), ("face", 1)))
    assert (image.name, image.size) == ("a.jpg", (30, 40))
    assert image.faces.boxes_N4.tolist() == [[1, 2, 11, 22.5]] * 2
    assert image.faces.ignored_N.tolist() == [False, True]


def test_the_class_is_chosen_by_name(tmp_path: Path) -> None:
    folder = voc(tmp_path, ("head", 0), ("person", 0))
    with pytest.raises(DataError, match="--class; the classes are"):
        read(folder)
    assert [len(image.faces) for image in read(folder, "head")] == [1]


def test_a_file_without_objects_has_no_face(tmp_path: Path) -> None:
    assert [len(image.faces) for image in read(voc(tmp_path))] == [0]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16"])
def test_entities_are_refused(tmp_path: Path, encoding: str) -> None:
    folder = voc(tmp_path)
    (folder / "Annotations" / "a.xml").write_text(
        '<!DOCTYPE a [<!ENTITY b "bbbb">]><annotation>&b;</annotation>', encoding
    )
    with pytest.raises(DataError, match="entities are not accepted"):
        read(folder)


@pytest.mark.parametrize("text", ["", "<annotation>", "\x00", "<a>" * 100_000])
def test_broken_xml_is_named(tmp_path: Path, text: str) -> None:
    folder = voc(tmp_path)
    (folder / "Annotations" / "a.xml").write_text(text)
    with pytest.raises(DataError, match=r"a\.xml: is not valid XML"):
        read(folder)


def test_faulty_objects_and_missing_images_are_named(tmp_path: Path) -> None:
    folder = voc(tmp_path, ("face", 0))
    path = folder / "Annotations" / "a.xml"
    whole = path.read_text()
    path.write_text(whole.replace("<xmin>1", "<xmin>one"))
    with pytest.raises(DataError, match=r"bndbox/xmin must be a number, got 'one'"):
        read(folder)
    path.write_text(whole.replace("<name>face</name>", ""))
    with pytest.raises(DataError, match="an object lacks 'name'"):
        read(folder)
    with pytest.raises(DataError, match="is not below"):
        read(voc(tmp_path, filename="b.jpg"))
    with pytest.raises(DataError, match=r"names no image"):
        read(voc(tmp_path, filename=""))
    with pytest.raises(DataError, match=r"a\.xml: is no folder"):
        read_voc(path, tmp_path / "JPEGImages")
    with pytest.raises(DataError, match="there is no XML file"):
        read_voc(tmp_path / "JPEGImages", tmp_path / "JPEGImages")
