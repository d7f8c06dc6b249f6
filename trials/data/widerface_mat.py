"""WIDER FACE ground truth in .mat files: faces of images, and which of them count.

`wider_face_val.mat` holds `event_list`, `file_list` and `face_bbx_list`;
`wider_{easy,medium,hard}_val.mat` hold `gt_list`, the 1-based indices of the faces of each
image that count in the subset. Boxes are x, y, width, height in pixels.
"""

import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from search_spaces.errors import DataError
from search_spaces.files import replacing
from trials.data.ground_truth import Truth, box_array, count_flags, make_truth, split_name
from trials.result import SUBSETS

HEADER = b"MATLAB 5.0 MAT-file, WIDER FACE ground truth"
HEADER_BYTES = 116
FACES_FILE = "wider_face_val.mat"
FACES_KEYS = ("event_list", "file_list", "face_bbx_list")


def write_ground_truth(
    folder: str | os.PathLike[str],
    images: Mapping[str, ArrayLike],
    *,
    easy: Mapping[str, Sequence[int] | NDArray[np.integer]],
    medium: Mapping[str, Sequence[int] | NDArray[np.integer]],
    hard: Mapping[str, Sequence[int] | NDArray[np.integer]],
) -> None:
    """Write the four WIDER .mat files into `folder` (created if missing).

    Args:
        folder: usually `<data>/val/gt`.
        images: name `event/file` (no suffix) -> boxes (G, 4) xywh pixels; G may be 0.
        easy, medium, hard: name -> 0-based indices of the faces that count (the file stores
            1-based ones); a missing name means none.

    Raises:
        DataError: see `make_truth`; a name that is not `event/file`.
    """
    from scipy.io import savemat

    truth = make_truth(images, easy=easy, medium=medium, hard=hard)
    events: dict[str, list[int]] = {}
    for number, name in enumerate(truth.names):
        events.setdefault(split_name(name)[0], []).append(number)
    groups = list(events.values())
    listing = {
        "event_list": _column(list(events)),
        "file_list": _cells(groups, lambda image: split_name(truth.names[image])[1]),
    }
    contents = {FACES_FILE: {"face_bbx_list": _cells(groups, truth.boxes)}}
    for column, subset in enumerate(SUBSETS):
        lists = _cells(groups, lambda i, c=column: _matlab_indices(truth.counted(i)[:, c]))
        contents[_subset_file(subset)] = {"gt_list": lists}
    for file, extra in contents.items():
        with replacing(Path(folder) / file) as temporary:
            savemat(str(temporary), listing | extra, appendmat=False, do_compression=True)
            with temporary.open("r+b") as stream:  # scipy writes the date here
                stream.write(HEADER.ljust(HEADER_BYTES))


def has_ground_truth(folder: str | os.PathLike[str]) -> bool:
    """Return whether a folder exists and holds any .mat file; hidden files do not count."""
    return any(Path(folder).glob("[!.]*.mat"))


def read_ground_truth(folder: str | os.PathLike[str]) -> Truth:
    """Read the four WIDER .mat files of `folder`.

    Raises:
        DataError: a file is missing, is not a MATLAB file, lacks a variable, or its lists do
            not fit together (the message names the file and the image).
    """
    path = Path(folder) / FACES_FILE
    content = _load(path, FACES_KEYS)
    events = [_text(cell, path) for cell in content["event_list"].ravel()]
    names = tuple(
        f"{event}/{_text(cell, path)}"
        for event, files in zip(
            events, _events(content, "file_list", path, len(events)), strict=True
        )
        for cell in files
    )
    cells = [c for e in _events(content, "face_bbx_list", path, len(events)) for c in e]
    if len(cells) != len(names):
        raise DataError(f"{path}: {len(names)} file names but boxes of {len(cells)} images")
    boxes = [box_array(cell, f"{path}: {name}") for cell, name in zip(cells, names, strict=True)]
    for name in names:
        split_name(name, str(path))
    offsets = np.cumsum([0, *map(len, boxes)], dtype=np.int64)
    columns = [_read_subset(Path(folder), subset, names, offsets) for subset in SUBSETS]
    return Truth(
        names=names,
        boxes_F4=np.concatenate([np.zeros((0, 4)), *boxes]),
        offsets=offsets,
        counted_F3=np.stack(columns, axis=1),
    )


def _read_subset(
    folder: Path, subset: str, names: tuple[str, ...], offsets: NDArray[np.int64]
) -> NDArray[np.bool_]:
    """Return flags (F) of the faces that count in one subset."""
    path = folder / _subset_file(subset)
    content = _load(path, ("gt_list",))
    cells = [cell for event in _events(content, "gt_list", path) for cell in event]
    if len(cells) != len(names):
        raise DataError(f"{path}: gt_list has {len(cells)} images, {FACES_FILE} has {len(names)}")
    chosen = [
        _index_array(cell, f"{path}: {name}") for cell, name in zip(cells, names, strict=True)
    ]
    return count_flags(chosen, offsets, names, str(path), base=1)


def _load(path: Path, keys: Sequence[str]) -> dict[str, Any]:
    """Return the named variables of a MATLAB file, each a cell array."""
    from scipy.io import loadmat

    if not path.is_file():
        raise DataError(f"{path}: WIDER ground truth file is missing")
    try:
        content = dict(loadmat(path, variable_names=list(keys)))
    except Exception as error:  # scipy raises many types on a damaged file
        reason = " ".join(str(error).split())[:200]
        raise DataError(f"{path}: cannot be read as a MATLAB v5 file ({reason})") from error
    for key in keys:
        if key not in content:
            raise DataError(f"{path}: lacks the variable {key}")
        if not isinstance(content[key], np.ndarray) or content[key].dtype != object:
            raise DataError(f"{path}: {key} must be a cell array")
    return content


def _events(
    content: dict[str, Any], key: str, path: Path, events: int | None = None
) -> Iterator[NDArray[Any]]:
    """Yield the cell array of each event of variable `key`, as a flat object array."""
    outer = content[key].ravel()
    if events is not None and len(outer) != events:
        raise DataError(f"{path}: {key} has {len(outer)} events, event_list has {events}")
    for event in outer:
        if not isinstance(event, np.ndarray) or (event.size and event.dtype != object):
            raise DataError(f"{path}: {key} must hold a cell array for every event")
        yield event.ravel()


def _text(cell: Any, path: Path) -> str:
    """Return the string in a MATLAB cell."""
    if isinstance(cell, np.ndarray) and cell.size == 1 and cell.dtype.kind == "U":
        return str(cell.ravel()[0])
    raise DataError(f"{path}: event and file names must be strings")


def _index_array(value: Any, source: str) -> NDArray[np.int64]:
    """Return a list of face indices, which MATLAB stores as any type of number."""
    array = np.asarray(value).ravel()
    if array.size and array.dtype.kind not in "iuf":
        raise DataError(f"{source}: face indices must be whole numbers, got {array.dtype}")
    if array.dtype.kind == "f" and not (np.floor(array) == array).all():
        raise DataError(f"{source}: face indices must be whole numbers")
    return array.astype(np.int64)


def _subset_file(subset: str) -> str:
    return f"wider_{subset}_val.mat"


def _column(values: Sequence[Any]) -> NDArray[np.object_]:
    """Return a MATLAB cell column."""
    column = np.empty((len(values), 1), dtype=object)
    for row, value in enumerate(values):
        column[row, 0] = value
    return column


def _cells(groups: Sequence[Sequence[int]], value: Any) -> NDArray[np.object_]:
    """Return a cell column of events, each a cell column of its images' values."""
    return _column([_column([value(image) for image in group]) for group in groups])


def _matlab_indices(flags: NDArray[np.bool_]) -> NDArray[np.int32]:
    """Return the 1-based indices of the set flags as a column."""
    return (np.flatnonzero(flags) + 1).astype(np.int32).reshape(-1, 1)
