"""The record of a trial's last evaluation as a file of its folder."""

import logging
import os
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from search_spaces.errors import DataError
from search_spaces.files import replacing
from trials.evaluation.record import KINDS, MOST_FACES, REASONS, EvaluationRecord, Picture
from trials.evaluation.widerface_ap import THRESHOLDS, Matches

RECORD_FILE = "evaluation.npz"
MAX_BYTES = 64 << 20  # unpacked: `MOST_FACES` need less

Arrays: TypeAlias = Mapping[str, NDArray[Any]]

log = logging.getLogger(__name__)


def save_record(record: EvaluationRecord, folder: str | os.PathLike[str]) -> None:
    """Write `folder/evaluation.npz` whole or not at all; not if there are over `MOST_FACES`."""
    if len(record.height_F) > MOST_FACES:
        log.info("%s is not written: more than %d faces", RECORD_FILE, MOST_FACES)
        return
    pictures = record.pictures
    kinds = [(picture, kind) for picture in pictures for kind in KINDS]
    matches = record.matches
    arrays: dict[str, Any] = {
        "face_steps": np.diff(matches.face_M, prepend=0).astype(np.uint32),  # pack better
        "bins": matches.bin_M.astype(np.uint16),
        "false": matches.false_T.astype(np.uint32),
        "counted": record.counted_F3,
        "heights": record.height_F,
        "scales": record.scale_F,
        "score": np.array([record.score]),
        "picture_paths": np.array([p.path.encode(errors="surrogateescape") for p in pictures], "S"),
        "picture_reasons": np.array([REASONS.index(p.reason) for p in pictures], np.uint8),
        "picture_counts": np.array([p.counts[kind] for p, kind in kinds], "u4").reshape(-1, 3),
        "picture_boxes": np.array([len(p.boxes[kind]) for p, kind in kinds], "u2").reshape(-1, 3),
        "boxes": np.concatenate([np.zeros((0, 4), "f4"), *(p.boxes[kind] for p, kind in kinds)]),
    }
    with replacing(Path(folder) / RECORD_FILE) as temporary, temporary.open("wb") as file:
        np.savez_compressed(file, **arrays)


def load_record(folder: str | os.PathLike[str]) -> EvaluationRecord | None:
    """Return the record in a trial's folder, or None if there is none.

    Raises:
        DataError: the file is damaged.
    """
    path = Path(folder) / RECORD_FILE
    if not path.is_file():
        return None
    try:
        return _record(_read(path))
    except (OSError, EOFError, MemoryError, ValueError, KeyError, zipfile.BadZipFile) as error:
        reason = " ".join(str(error).split())[:200]
        raise DataError(f"{path}: is damaged ({reason or type(error).__name__})") from error


def _read(path: Path) -> dict[str, NDArray[Any]]:
    """Return the arrays of a file that unpacks to at most `MAX_BYTES`."""
    with zipfile.ZipFile(path) as archive:
        size = sum(item.file_size for item in archive.infolist())
    if size > MAX_BYTES:
        raise ValueError(f"it may unpack to {MAX_BYTES >> 20} MiB, got {size} bytes")
    with np.load(path, allow_pickle=False) as arrays:
        return {name: arrays[name] for name in arrays.files}


def _record(arrays: Arrays) -> EvaluationRecord:
    """Return the record. Raises ValueError or KeyError: arrays are missing or do not fit."""
    counted_F3 = _column(arrays, "counted", "b", width=3)
    face_M = _column(arrays, "face_steps", "u").astype(np.int64).cumsum()
    bin_M = _column(arrays, "bins", "u", len(face_M)).astype(np.int64)
    if (face_M >= len(counted_F3)).any() or (bin_M >= THRESHOLDS).any():
        raise ValueError("a match is of no face or of no threshold")
    false_T = _column(arrays, "false", "u", THRESHOLDS).astype(np.int64)
    return EvaluationRecord(
        matches=Matches(face_M=face_M, bin_M=bin_M, false_T=false_T),
        counted_F3=counted_F3,
        height_F=_column(arrays, "heights", "f", len(counted_F3)),
        scale_F=_column(arrays, "scales", "f", len(counted_F3)),
        score=float(_column(arrays, "score", "f", 1)[0]),
        pictures=tuple(_pictures(arrays)),
    )


def _pictures(arrays: Arrays) -> Iterator[Picture]:
    paths = _column(arrays, "picture_paths", "S").tolist()
    reasons = _column(arrays, "picture_reasons", "u", len(paths))
    counts = _column(arrays, "picture_counts", "u", len(paths), len(KINDS))
    lengths = _column(arrays, "picture_boxes", "u", len(paths), len(KINDS))
    boxes = _column(arrays, "boxes", "f", int(lengths.sum()), 4)
    parts = iter(np.split(boxes, lengths.ravel().astype(np.int64).cumsum()))
    for path, reason, numbers in zip(paths, reasons, counts.tolist(), strict=True):
        name = path.decode(errors="surrogateescape")
        if name.startswith("/") or ".." in name.split("/"):
            raise ValueError(f"a picture must be below the data folder, got {name!r}")
        yield Picture(
            path=name,
            reason=dict(enumerate(REASONS))[int(reason)],
            counts=dict(zip(KINDS, numbers, strict=True)),
            boxes={kind: next(parts) for kind in KINDS},
        )


def _column(
    arrays: Arrays, name: str, kind: str, length: int | None = None, width: int | None = None
) -> NDArray[Any]:
    """Return the finite array `name` of a kind of dtype and of `length` rows."""
    array = np.atleast_1d(arrays[name])
    shape = (len(array) if length is None else length, *([] if width is None else [width]))
    if array.dtype.kind != kind or array.shape != shape:
        raise ValueError(f"{name} must be {kind} {shape}, got {array.dtype} {array.shape}")
    if kind == "f" and not np.isfinite(array).all():
        raise ValueError(f"{name} holds values that are not finite")
    return array
