"""COCO detection and key-point annotations (https://cocodataset.org/#format-data).

`bbox` is x, y, width, height in pixels. A category with five key points has, for each of them,
x, y and v: 0 not annotated, 1 annotated but not visible, 2 visible. `iscrowd` marks a region that
takes no part in training. The order of the five key points is that of `trials.data.labels`. Ids are
compared as text, since some programs write text in one list and numbers in the other.
"""

import json
import os
from collections import defaultdict
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from search_spaces.errors import DataError, shown
from search_spaces.files import write_text
from trials.data.formats.annotation import (
    Annotation,
    annotation,
    choose_class,
    image_finder,
    read_whole,
)
from trials.data.labels import MAX_COORDINATE, NUM_KEYPOINTS, AnnotatedImage

KEYPOINT_NAMES = ("left_eye", "right_eye", "nose", "left_mouth", "right_mouth")


def read_coco(
    path: str | os.PathLike[str], images: Path, wanted: str | None = None
) -> list[Annotation]:
    """Read a COCO file; images without a face are included.

    Args:
        path: JSON file with `images`, `annotations` and `categories`.
        images: folder of the images.
        wanted: name or number of the category of faces (see `choose_class`).

    Raises:
        DataError: not a COCO file, a value breaks the format, or an image is missing.
    """
    source = str(path)
    content = _parsed(Path(path))
    categories = _by_id(content, "categories", source)
    names = {number: str(item.get("name", "")) for number, item in categories.items()}
    category = choose_class(names, wanted, source)
    _require_order(categories[category], source)
    faces_of = defaultdict(list)
    known = _by_id(content, "images", source)
    for item in content["annotations"]:
        if _owner(item, "category_id", categories, source) == category:
            faces_of[_owner(item, "image_id", known, source)].append(item)
    find = image_finder(images, source)
    return [_image(image, faces_of[key], find, source) for key, image in known.items()]


def write_coco(path: str | os.PathLike[str], images: Iterable[AnnotatedImage]) -> None:
    """Write annotated images as one COCO file with the category `face` and five key points."""
    listed: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for number, image in enumerate(images, start=1):
        size = {"width": image.width, "height": image.height}
        listed.append({"id": number, "file_name": image.name} | size)
        faces = image.faces
        for box, points, ignored in zip(
            faces.boxes_N4.tolist(),
            faces.keypoints_N53.tolist(),
            faces.ignored_N.tolist(),
            strict=True,
        ):
            x1, y1, x2, y2 = box
            triples = [_to_coco(*point) for point in points]
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": number,
                    "category_id": 1,
                    "bbox": [x1, y1, x2 - x1, y2 - y1],
                    "area": (x2 - x1) * (y2 - y1),
                    "iscrowd": int(ignored),
                    "keypoints": [value for triple in triples for value in triple],
                    "num_keypoints": sum(triple[2] > 0 for triple in triples),
                }
            )
    category = {"id": 1, "name": "face", "keypoints": KEYPOINT_NAMES, "skeleton": []}
    content = {"images": listed, "annotations": annotations, "categories": [category]}
    write_text(path, json.dumps(content) + "\n")


def _to_coco(x: float, y: float, flag: float) -> tuple[float, float, int]:
    """A labelv2 key point (flag 0 visible, 1 occluded, -1 missing) in COCO's convention."""
    return (0.0, 0.0, 0) if flag < 0 else (x, y, 2 if flag == 0 else 1)


def _from_coco(x: float, y: float, visibility: float) -> tuple[float, float, float]:
    return (-1.0, -1.0, -1.0) if visibility == 0 else (x, y, 0.0 if visibility >= 2 else 1.0)


def _parsed(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(read_whole(path))
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path}: is not valid JSON ({error})") from error
    for key in ("images", "annotations", "categories"):
        items = content.get(key) if isinstance(content, Mapping) else None
        if not isinstance(items, list) or not all(isinstance(item, Mapping) for item in items):
            raise DataError(f"{path}: a COCO file has a list of objects under {key!r}")
    return dict(content)


def _by_id(content: Mapping[str, Any], where: str, source: str) -> dict[str, Mapping[str, Any]]:
    found: dict[str, Mapping[str, Any]] = {}
    for item in content[where]:
        number = _value(item, "id", where, source)
        if number in found:
            raise DataError(f"{source}: two entries of {where!r} have the id {shown(number)}")
        found[number] = item
    return found


def _owner(
    item: Mapping[str, Any], key: str, known: Mapping[str, Mapping[str, Any]], source: str
) -> str:
    """Return the id under `key`, which must be known."""
    number = _value(item, key, "annotations", source)
    if number not in known:
        raise DataError(f"{source}: an annotation has the unknown {key} {shown(number)}")
    return number


def _require_order(category: Mapping[str, Any], source: str) -> None:
    """Raise DataError if the category names its five key points in another order.

    Left and right are not compared: programs use both meanings, of the image and of the person.
    """
    names = category.get("keypoints")
    if not isinstance(names, list) or len(names) != NUM_KEYPOINTS:
        return
    kinds = [next((k for k in ("eye", "nose", "mouth") if k in str(n).lower()), "") for n in names]
    if all(kinds) and kinds != ["eye", "eye", "nose", "mouth", "mouth"]:
        rule = "the five key points must be two eyes, the nose and two mouth corners, in this order"
        raise DataError(f"{source}: {rule}, got {shown(names)}; reorder them")


def _value(item: Mapping[str, Any], key: str, where: str, source: str) -> str:
    """Return a number or text as text; a whole float, as pandas writes ids, as an integer."""
    value = item.get(key)
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if not isinstance(value, int | str) or isinstance(value, bool):
        rule = f"an entry of {where!r} must have a number or text under {key!r}"
        raise DataError(f"{source}: {rule}, got {shown(dict(item))}")
    return str(value)


def _image(image: Mapping[str, Any], items: list[Any], find: Any, source: str) -> Annotation:
    name = find(_value(image, "file_name", "images", source))
    width, height = image.get("width"), image.get("height")
    size = (width, height) if isinstance(width, int) and isinstance(height, int) else None
    boxes = [_numbers(item, "bbox", 4, source) for item in items]
    points = [_keypoints(item, source) for item in items]
    crowd = [item.get("iscrowd") in (1, "1") for item in items]
    return annotation(name, boxes, points, crowd, size)


def _keypoints(item: Mapping[str, Any], source: str) -> list[float] | None:
    """The five key points in labelv2's convention; None where the annotation has others or none."""
    given = item.get("keypoints")
    if not isinstance(given, list) or len(given) != 3 * NUM_KEYPOINTS:
        return None
    values = _numbers(item, "keypoints", 3 * NUM_KEYPOINTS, source)
    triples = zip(values[::3], values[1::3], values[2::3], strict=True)
    return [number for triple in triples for number in _from_coco(*triple)]


def _is_small(value: Any) -> bool:
    """Whether a value is a number within the range of coordinates; NaN is not."""
    return type(value) in (int, float) and abs(value) <= MAX_COORDINATE


def _numbers(item: Mapping[str, Any], key: str, count: int, source: str) -> list[float]:
    values = item.get(key)
    is_list = isinstance(values, list) and len(values) == count
    if not is_list or not all(_is_small(value) for value in values or ()):
        rule = f"{key!r} of {shown(item.get('id'))} must be {count} numbers within a million"
        raise DataError(f"{source}: {rule}, got {shown(values)}")
    return list(values or ())
