"""Fingerprints of requests and data, equal for equal content."""

import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from search_spaces.errors import DataError
from search_spaces.files import visible_files

# Paths that a data folder must have.
DATA_LAYOUT = ("train/labelv2.txt", "train/images", "val/images")


def data_fingerprint(root: str | os.PathLike[str]) -> str:
    """Return 16 hexadecimal digits over labels, ground truth, and image names and sizes.

    The contents of images are not read, so that a search over 16,000 images starts at once.
    The location of the folder does not matter: nodes may mount it at different paths.

    Raises:
        DataError: the folder does not exist.
    """
    folder = Path(root)
    if not folder.is_dir():
        raise DataError(f"{folder}: there is no such data folder")
    digest = hashlib.sha256()
    for path in sorted(_files(folder)):
        name = path.relative_to(folder).as_posix()
        digest.update(f"{name}\0".encode(errors="surrogateescape"))
        if path.suffix in (".txt", ".mat"):
            digest.update(hashlib.sha256(path.read_bytes()).digest())
        else:
            digest.update(str(path.stat().st_size).encode())
    return digest.hexdigest()[:16]


def request_fingerprint(request: Mapping[str, Any]) -> str:
    """Return 16 hexadecimal digits over the canonical JSON of `request`."""
    text = json.dumps(request, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def differences(before: Any, now: Any, label: str = "") -> list[str]:
    """Return `key: old -> new` for every leaf in which two nested mappings differ."""
    if not isinstance(before, Mapping) or not isinstance(now, Mapping):
        return [] if before == now else [f"{label}: {before!r} -> {now!r}"]
    lines: list[str] = []
    for key in dict.fromkeys([*before, *now]):
        inner = f"{label}.{key}" if label else str(key)
        lines += differences(before.get(key), now.get(key), inner)
    return lines


def _files(root: Path) -> Iterator[Path]:
    """Yield labels, ground truth and images of both splits."""
    for split in ("train", "val"):
        label = root / split / "labelv2.txt"
        if label.is_file():
            yield label
        for part in ("images", "gt"):
            yield from map(Path, visible_files(root / split / part))
