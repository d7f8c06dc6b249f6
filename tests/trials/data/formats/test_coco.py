"""COCO files: boxes, key points, ignored regions, paths as other machines write them."""

import json
from pathlib import Path

import numpy as np
import pytest

from search_spaces.errors import DataError
from trials.data.formats.coco import read_coco, write_coco
from trials.data.labels import AnnotatedImage, Faces

FACE = {"id": 1, "name": "face"}


def box(number=1, image=1, **more):
    return {"id": number, "image_id": image, "category_id": 1, "bbox": [10, 20, 30, 40]} | more


def coco(folder, annotations, images=None, categories=(FACE,)):
    (folder / "images").mkdir(exist_ok=True)
    (folder / "images" / "a.jpg").touch()
    images = images or [{"id": 1, "file_name": "a.jpg", "width": 100, "height": 80}]
    path = folder / "faces.json"
    content = {"images": images, "annotations": annotations, "categories": list(categories)}
    path.write_text(json.dumps(content))
    return path


def read(folder, *args, **kwargs):
    return read_coco(coco(folder, *args, **kwargs), folder / "images")


def test_boxes_become_corners_crowds_ignored_faces_and_empty_boxes_are_dropped(
    tmp_path: Path,
) -> None:
    empty, keypoints = box(3, bbox=[1, 2, 0, 5]), [1, 2, 2] * 17  # not those of a face
    (image,) = read(tmp_path, [box(keypoints=keypoints), box(2, iscrowd=1), empty])
    assert (image.name, image.size, image.dropped) == ("a.jpg", (100, 80), 1)
    assert image.faces.boxes_N4.tolist() == [[10, 20, 40, 60]] * 2
    assert image.faces.ignored_N.tolist() == [False, True]
    assert not image.faces.annotated.any()
    assert [len(image.faces) for image in read(tmp_path, [])] == [0]


def test_visibility_becomes_the_flag_of_labelv2(tmp_path: Path) -> None:
    points = [1, 2, 2, 3, 4, 1, 0, 0, 0, 7, 8, 2, 9, 10, 2]
    (image,) = read(tmp_path, [box(keypoints=points)])
    expected = [[1, 2, 0], [3, 4, 1], [-1, -1, -1], [7, 8, 0], [9, 10, 0]]
    assert image.faces.keypoints_N53[0].tolist() == expected


@pytest.mark.parametrize("wanted", ["face", "2"])
def test_the_class_is_chosen_by_name_or_number(tmp_path: Path, wanted: str) -> None:
    categories = [{"id": 1, "name": "body"}, {"id": 2, "name": "face"}]
    path = coco(tmp_path, [box(), box(2, category_id=2, bbox=[0, 0, 5, 5])], categories=categories)
    (image,) = read_coco(path, tmp_path / "images", wanted)
    assert image.faces.boxes_N4.tolist() == [[0, 0, 5, 5]]


def test_an_unclear_class_is_refused_with_the_list(tmp_path: Path) -> None:
    categories = [{"id": 1, "name": "head"}, {"id": 2, "name": "body"}]
    with pytest.raises(DataError, match=r"--class; the classes are 1 \(head\), 2 \(body\)"):
        read(tmp_path, [], categories=categories)


@pytest.mark.parametrize(
    "given", ["a.jpg", "images\\a.jpg", "/home/someone/set/images/a.jpg", "C:\\set\\a.jpg"]
)
def test_paths_of_other_machines_are_resolved(tmp_path: Path, given: str) -> None:
    images = [{"id": 1, "file_name": given, "width": 100, "height": 80}]
    (image,) = read(tmp_path, [], images)
    assert image.name == "a.jpg"


@pytest.mark.parametrize("given", ["b.jpg", "../secret/a.png", "a.jpg\0"])
def test_a_missing_image_is_named_with_the_remedy(tmp_path: Path, given: str) -> None:
    with pytest.raises(DataError, match=r"is not below .*images; give the folder .* as --images"):
        read(tmp_path, [], [{"id": 1, "file_name": given, "width": 1, "height": 1}])


@pytest.mark.parametrize(
    "content",
    ["", "[]", "{}", '{"images": 3}', "[" * 100_000, '{"images": [1], "annotations": []}', "\xff"],
)
def test_other_files_are_refused(tmp_path: Path, content: str) -> None:
    path = tmp_path / "faces.json"
    path.write_text(content)
    with pytest.raises(DataError, match=r"faces\.json: (is not valid JSON|a COCO file has)"):
        read_coco(path, tmp_path)


@pytest.mark.parametrize(
    "faulty",
    [
        {"bbox": [1, 2, 3]},
        {"bbox": [1, 2, 3, "x"]},
        {"bbox": [1, 2, 3, float("nan")]},
        {"bbox": [1, 2, 3, 1e30]},
        {"bbox": None},
        {"image_id": 7},
        {"image_id": None},
        {"image_id": 1.5},
        {"category_id": 7},
        {"keypoints": [float("inf")] * 15},
    ],
)
def test_a_faulty_annotation_is_refused(tmp_path: Path, faulty: dict[str, object]) -> None:
    with pytest.raises(DataError):
        read(tmp_path, [box(**faulty)])


@pytest.mark.parametrize("given", ["1", 1.0])
def test_ids_may_be_text_or_whole_floats(tmp_path: Path, given: object) -> None:
    annotations = [box(image=given, category_id=given)]
    assert [len(image.faces) for image in read(tmp_path, annotations)] == [1]
    (image,) = read(tmp_path, [box()], categories=[{"id": given, "name": "face"}])
    assert len(image.faces) == 1


def test_two_images_of_one_id_are_refused(tmp_path: Path) -> None:
    images = [{"id": number, "file_name": "a.jpg"} for number in (1, "1")]
    with pytest.raises(DataError, match="two entries of 'images' have the id '1'"):
        read(tmp_path, [box()], images)


@pytest.mark.parametrize(("given", "ignored"), [("0", False), ("1", True), (True, True)])
def test_iscrowd_may_be_text(tmp_path: Path, given: object, ignored: bool) -> None:
    (image,) = read(tmp_path, [box(iscrowd=given)])
    assert image.faces.ignored_N.tolist() == [ignored]


def test_a_size_of_zero_is_not_known(tmp_path: Path) -> None:
    images = [{"id": 1, "file_name": "a.jpg", "width": 0, "height": 0}]
    assert read(tmp_path, [box()], images)[0].size is None


def test_key_points_that_are_named_in_another_order_are_refused(tmp_path: Path) -> None:
    names = ["right_eye", "left_eye", "nose_tip", "right_mouth_corner", "left_mouth_corner"]
    read(tmp_path, [box()], categories=[FACE | {"keypoints": names}])
    with pytest.raises(DataError, match="two eyes, the nose and two mouth corners, in this order"):
        read(tmp_path, [box()], categories=[FACE | {"keypoints": names[::-1]}])


def test_written_files_read_back_the_same(tmp_path: Path) -> None:
    path = coco(tmp_path, [])
    faces = Faces.of_boxes([[1.5, 2, 10, 20], [3, 4, 5, 6]])
    faces.keypoints_N53[0] = [[1, 2, 0], [3, 4, 1], [-1, -1, -1], [5, 6, 0], [7, 8, 0]]
    faces.ignored_N[1] = True
    image = AnnotatedImage(name="a.jpg", path=tmp_path, width=100, height=80, faces=faces)
    write_coco(path, [image])
    (again,) = read_coco(path, tmp_path / "images")
    assert np.array_equal(again.faces.boxes_N4, faces.boxes_N4)
    assert np.array_equal(again.faces.keypoints_N53, faces.keypoints_N53)
    assert again.faces.ignored_N.tolist() == [False, True]
