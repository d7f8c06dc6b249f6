"""Pascal VOC annotations: one XML file for each image.

`bndbox` holds xmin, ymin, xmax, ymax in pixels; `difficult` marks an object that takes no part in
training. The format has no key points.
"""

from pathlib import Path
from xml.etree import ElementTree

from search_spaces.errors import DataError, shown
from trials.data.formats.annotation import (
    Annotation,
    annotation,
    choose_class,
    files_below,
    image_finder,
    read_whole,
)

_CORNERS = ("xmin", "ymin", "xmax", "ymax")


def read_voc(folder: Path, images: Path, wanted: str | None = None) -> list[Annotation]:
    """Read all XML files below a folder.

    Args:
        folder: folder of the XML files (`Annotations`).
        images: folder of the images (`JPEGImages`).
        wanted: name of the class of faces (see `choose_class`).

    Raises:
        DataError: no file, a value breaks the format, or an image is missing.
    """
    roots = {path: _root(path) for path in files_below(folder, (".xml",), "XML")}
    objects = {path: root.findall("object") for path, root in roots.items()}
    names = sorted({_text(o, "name", path) for path, found in objects.items() for o in found})
    classes = dict(enumerate(names))
    number = choose_class(classes, wanted, str(folder)) if classes else 0
    return [
        _image(
            roots[path],
            [o for o in found if _text(o, "name", path) == classes.get(number)],
            images,
            path,
        )
        for path, found in objects.items()
    ]


def _root(path: Path) -> ElementTree.Element:
    content = read_whole(path)
    ascii_only = content.replace(b"\0", b"")  # of UTF-16
    if b"<!DOCTYPE" in ascii_only or b"<!ENTITY" in ascii_only:  # could expand without bound
        raise DataError(f"{path}: document types and entities are not accepted in VOC files")
    try:
        return ElementTree.fromstring(content)
    except (ElementTree.ParseError, ValueError, LookupError) as error:
        raise DataError(f"{path}: is not valid XML ({error})") from error


def _image(
    root: ElementTree.Element, objects: list[ElementTree.Element], images: Path, path: Path
) -> Annotation:
    given = root.findtext("filename") or root.findtext("path")
    if not given:
        raise DataError(f"{path}: names no image (annotation/filename)")
    name = image_finder(images, str(path))(given.strip())
    corners = [[_number(item, f"bndbox/{key}", path) for key in _CORNERS] for item in objects]
    boxes = [(x1, y1, x2 - x1, y2 - y1) for x1, y1, x2, y2 in corners]
    difficult = [(item.findtext("difficult") or "0").strip() == "1" for item in objects]
    sides = [(root.findtext(f"size/{key}") or "").strip() for key in ("width", "height")]
    known = all(side.isascii() and side.isdigit() and 0 < len(side) < 7 for side in sides)
    size = (int(sides[0]), int(sides[1])) if known else None
    return annotation(name, boxes, [None] * len(boxes), difficult, size)


def _text(element: ElementTree.Element, key: str, path: Path) -> str:
    text = (element.findtext(key) or "").strip()
    if not text:
        raise DataError(f"{path}: an object lacks {key!r}")
    return text


def _number(element: ElementTree.Element, key: str, path: Path) -> float:
    text = _text(element, key, path)
    try:
        return float(text)
    except ValueError:
        raise DataError(f"{path}: {key} must be a number, got {shown(text)}") from None
