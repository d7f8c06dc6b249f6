"""Model files: an architecture and its weights, loadable without running code from them."""

import os
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch

from search_spaces.architecture import Architecture
from search_spaces.cost.detector import params_by_part, total
from search_spaces.errors import DataError
from search_spaces.files import replacing
from search_spaces.network.detector import Detector, build_detector
from trials.result import BEST

FORMAT = "scrfd-nas model 1"
MAX_PARAMETERS = 500_000_000


def save_model(
    path: str | os.PathLike[str],
    architecture: Architecture,
    weights: Mapping[str, torch.Tensor],
    meta: Mapping[str, Any] | None = None,
) -> None:
    """Write architecture, weights (moved to the CPU) and plain `meta` to `path` atomically."""
    content = {
        "format": FORMAT,
        "architecture": architecture.to_dict(),
        "model": {name: value.detach().cpu() for name, value in weights.items()},
        "meta": dict(meta or {}),
    }
    write_tensors(content, path)


def load_model(path: str | os.PathLike[str]) -> tuple[Architecture, Detector]:
    """Return the architecture and its detector in evaluation mode, on the CPU.

    Raises:
        DataError: the file is missing, damaged or no model file, or its weights do not fit.
    """
    content = _read_model(path)
    architecture = Architecture.from_dict(content.get("architecture"), str(Path(path)))
    detector = build_claimed(architecture, path)
    try:
        detector.load_state_dict(content.get("model") or {})
    except (RuntimeError, TypeError, AttributeError) as error:
        reason = " ".join(str(error).split())
        raise DataError(f"{path}: the weights do not fit the architecture: {reason}") from error
    return architecture, detector.eval()


def _read_model(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Return the content of a model file; an error about a trial's own names the remedy."""
    try:
        content = read_tensors(path)
        if not isinstance(content, dict) or content.get("format") != FORMAT:
            rule = f"is not a model file of this program ({FORMAT!r})"
            raise DataError(f"{path}: {rule}; `scrfd-nas convert` makes one of a checkpoint")
    except DataError as error:
        if Path(path).name != BEST:
            raise
        hint = "once its trial has finished, `scrfd-nas reproduce` trains the same weights again"
        raise DataError(f"{error}; {hint}") from error
    return content


def build_claimed(architecture: Architecture, source: str | os.PathLike[str]) -> Detector:
    """Build the detector that a file claims to hold.

    Raises:
        DataError: it has over 500 million parameters, as a small hostile file may claim.
    """
    parameters = int(total(params_by_part(architecture)))
    if parameters > MAX_PARAMETERS:
        rule = f"a network may have {MAX_PARAMETERS:,} parameters"
        raise DataError(f"{source}: {rule}, this one claims {parameters:,}")
    return build_detector(architecture)


def write_tensors(
    content: Any, path: str | os.PathLike[str], on_written: Callable[[], None] | None = None
) -> None:
    """Write tensors and plain data to `path` atomically.

    `on_written` is called when the content is written, before the file gets its name.

    Raises:
        OSError: such as no space left, which torch itself hides behind a RuntimeError.
    """
    with replacing(path) as temporary:
        with temporary.open("wb") as file:
            try:
                torch.save(content, file)
            except RuntimeError as error:
                if isinstance(error.__context__, OSError):
                    raise error.__context__ from None
                raise
        if on_written is not None:
            on_written()


def read_tensors(path: str | os.PathLike[str]) -> Any:
    """Return the content of a torch file without running code from it.

    Raises:
        DataError: the file is missing, damaged, or holds more than tensors and plain data.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of other kinds of files, which raise errors as well
            return torch.load(path, map_location="cpu", weights_only=True)
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror or error})") from error
    except Exception as error:  # torch raises a dozen types for damaged files
        raise DataError(f"{path}: is damaged or not a file of tensors and plain data") from error


class Placeholder:
    """An object of a type that is not loaded; it has no content and does nothing."""

    def __new__(cls, *args: object, **kwargs: object) -> "Placeholder":
        """Ignore the arguments."""
        return super().__new__(cls)

    def __init__(self, *args: object, **kwargs: object) -> None:
        pass

    def __setstate__(self, state: object) -> None:
        """Ignore the state."""


def _empty_dict(*_: object) -> dict[Any, Any]:
    return {}


def _empty_list(*_: object) -> list[Any]:
    return []


# Containers whose items torch adds to plain ones only.
_PLAIN = {"collections.defaultdict": _empty_dict, "collections.deque": _empty_list}


def read_foreign_tensors(path: str | os.PathLike[str]) -> Any:
    """Return the content of another program's torch file without running code from it.

    Metadata of other types (numpy scalars, dates, configurations) become `Placeholder`s.

    Raises:
        DataError: the file is missing or damaged, or its tensors need code to be loaded.
    """
    try:
        names = torch.serialization.get_unsafe_globals_in_checkpoint(os.fspath(path))
    except Exception:  # an older or damaged file; `read_tensors` tells which
        return read_tensors(path)
    inert: list[Any] = [
        (_PLAIN.get(name) or type("Placeholder", (Placeholder,), {}), name) for name in names
    ]
    with torch.serialization.safe_globals(inert):
        return read_tensors(path)
