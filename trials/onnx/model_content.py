"""Content of an ONNX file, with the weights that it keeps in files beside it."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from search_spaces.errors import DataError, shown
from search_spaces.files import read_bytes

MAX_BYTES = 1 << 30


def model_content(path: str | os.PathLike[str]) -> bytes:
    """Return the content of an ONNX file as if all of its weights were in it.

    Raises:
        DataError: the file is missing, over 1 GiB with its weights, or damaged; a file of weights
            is missing, cut short, or not in the model's folder or below.
    """
    file = Path(path)
    content = read_bytes(file, MAX_BYTES)
    if b"location" not in content:  # the key that every tensor in another file has
        return content
    import onnx

    try:
        model = onnx.load_model_from_string(content)
    except Exception as error:  # of protobuf, which has several implementations
        raise DataError(f"{path}: is damaged or not an ONNX file ({error})") from error
    room = MAX_BYTES
    for tensor in _external_tensors(model):
        room -= _fill(tensor, file, room)
    return content if room == MAX_BYTES else bytes(model.SerializeToString())


def _external_tensors(message: Any) -> Iterator[Any]:
    """Yield the tensors in a protobuf message, at any depth, whose values are in other files."""
    from onnx import TensorProto

    if isinstance(message, TensorProto):
        if message.data_location == TensorProto.EXTERNAL:
            yield message
        return
    for field, value in message.ListFields():
        if field.message_type is not None:
            for item in [value] if hasattr(value, "ListFields") else value:  # or a repeated one
                yield from _external_tensors(item)


def _fill(tensor: Any, model: Path, room: int) -> int:
    """Move a tensor's values from another file into it; return their bytes, at most `room`."""
    entries = {entry.key: entry.value for entry in tensor.external_data}
    location = entries.get("location", "")
    path = _beside(model, location)
    try:
        offset, size = int(entries.get("offset", 0)), path.stat().st_size
        length = int(entries.get("length", size - offset))
    except ValueError as error:
        raise DataError(f"{model}: the place of weights in {location!r} is no number") from error
    if not 0 <= length <= room:
        raise DataError(f"{model}: a model may have {MAX_BYTES >> 30} GiB with its weights")
    if not 0 <= offset <= size - length:
        raise DataError(
            f"{model}: its weights in {location!r} are cut short: they end at byte "
            f"{offset + length}, the file has {size}; copy that file again"
        )
    with path.open("rb") as stream:
        stream.seek(offset)
        tensor.raw_data = stream.read(length)
    del tensor.external_data[:]
    tensor.ClearField("data_location")
    return length


def _beside(model: Path, location: str) -> Path:
    """Return the path of a file of weights, which is below the folder of its model."""
    folder = model.parent.resolve()
    try:
        path = (folder / location).resolve()
        is_below = not os.path.isabs(location) and path.is_relative_to(folder)
        is_file = path.is_file()
    except (OSError, ValueError):  # too long, or with a NUL
        is_below = is_file = False
    if not is_below:
        raise DataError(
            f"{model}: keeps weights in {shown(location)}, which is not in the model's folder; "
            "give a model whose weights are in one file, or beside it"
        )
    if not is_file:
        raise DataError(
            f"{model}: keeps weights in {shown(location)}, and there is no such file in its "
            "folder; copy that file together with the model"
        )
    return path
