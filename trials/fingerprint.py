"""Fingerprints: when two trials were asked for the same thing, and on the same data."""

import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from search_spaces.errors import DataError

# What a data folder must have before anything of it is read.
DATA_LAYOUT = ("train/labelv2.txt", "train/images", "val/images", "val/gt")


def data_fingerprint(root: str | os.PathLike[str]) -> str:
    """16 hexadecimal digits over labels, ground truth, and image names and sizes.

    Image contents are not read: a search over 16,000 images must start at once. Where the
    data lies does not matter, so that nodes may mount it at different places.

    Raises:
        DataError: there is no such folder.
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
    """16 hexadecimal digits over the canonical JSON of `request`."""
    text = json.dumps(request, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def differences(before: Any, now: Any, label: str = "") -> list[str]:
    """`key: old -> new` for every leaf in which two nested mappings differ."""
    if not isinstance(before, Mapping) or not isinstance(now, Mapping):
        return [] if before == now else [f"{label}: {before!r} -> {now!r}"]
    lines: list[str] = []
    for key in dict.fromkeys([*before, *now]):
        inner = f"{label}.{key}" if label else str(key)
        lines += differences(before.get(key), now.get(key), inner)
    return lines


def _files(root: Path) -> Iterator[Path]:
    """Labels, ground truth and images of both splits; links are followed, but not in circles."""
    for split in ("train", "val"):
        label = root / split / "labelv2.txt"
        if label.is_file():
            yield label
        for part in ("images", "gt"):
            yield from _walk(root / split / part, set())


def _walk(top: Path, seen: set[str]) -> Iterator[Path]:
    for folder, names, files in os.walk(top, followlinks=True):
        real = os.path.realpath(folder)
        if real in seen:
            names.clear()
            continue
        seen.add(real)
        yield from (Path(folder) / file for file in files if not file.startswith("."))
