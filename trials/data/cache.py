"""Decoded images in files that all trials of a machine share.

Decoding a JPEG costs more than everything else that is done to a training image. Here each
image is decoded once: its pixels lie in a file that processes map into their memory, so
that the system keeps one copy for all of them and may drop it when memory is short.

Which images are kept follows from the label file and the bound alone: the first ones that
fit. So processes need not agree on anything, and the bound holds for all of them together.
"""

import hashlib
import logging
import mmap
import os
import struct
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from search_spaces.errors import ConfigError
from trials.data.images import Image
from trials.data.labels import AnnotatedImage

DEFAULT_FILE_CACHE_BYTES = 40 * 10**9  # the training part of WIDER FACE takes about 36 GB
_HEADER = struct.Struct("<8s16sII")
_MAGIC = b"SCRFDRGB"
_SUFFIX, _UNFINISHED = ".rgb", ".part"
_ABANDONED_S = 3600.0

log = logging.getLogger(__name__)


class ImageCache:
    """Decoded images of one split of a data set in a folder of files.

    A file says of which image it is: path, size and time of the last change. One that does
    not match is written anew, so that changed images are never mistaken for the old ones.
    Nothing here stops a training: where a file cannot be written, the image is decoded.
    """

    def __init__(
        self,
        folder: str | os.PathLike[str],
        images: Sequence[AnnotatedImage],
        max_bytes: int = DEFAULT_FILE_CACHE_BYTES,
    ) -> None:
        """Open or create the cache; files of images beyond the bound are removed.

        Args:
            folder: on a disk of this machine; many data sets may share it.
            images: of the split, in the order of its label file.
            max_bytes: bound on the pixels kept of this split.

        Raises:
            ConfigError: a negative bound.
            OSError: the folder cannot be created.
        """
        if max_bytes < 0:
            raise ConfigError(f"the image cache needs a size of at least 0, got {max_bytes}")
        self._paths = [os.path.abspath(image.path) for image in images]
        sizes = np.array([3 * image.width * image.height for image in images], dtype=np.int64)
        fits = np.cumsum(sizes + _HEADER.size) <= max_bytes
        self._sizes = sizes[fits].tolist()  # sums grow, so that these are the first ones
        common = os.path.commonpath(self._paths) if self._paths else ""
        self.folder = Path(folder) / hashlib.sha256(common.encode()).hexdigest()[:16]
        self.folder.mkdir(parents=True, exist_ok=True)
        self._is_writable = True
        self._clean()

    def __len__(self) -> int:
        """How many images the bound allows."""
        return len(self._sizes)

    def get(self, index: int) -> Image | None:
        """The pixels of image `index` (H, W, 3), or None if they are not here.

        The array is the file itself, mapped; writing to it changes only this process's copy.
        """
        if index >= len(self._sizes):
            return None
        try:
            with self._file(index).open("rb") as stream:
                content = mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_COPY)
            magic, mark, height, width = _HEADER.unpack_from(content)
            is_current = magic == _MAGIC and mark == _fingerprint(self._paths[index])
        except (OSError, ValueError, struct.error):
            return None
        if not is_current or len(content) != _HEADER.size + 3 * height * width:
            return None
        pixels = np.frombuffer(content, np.uint8, offset=_HEADER.size)
        return pixels.reshape(height, width, 3)

    def put(self, index: int, pixels_HW3: Image) -> None:
        """Keep the pixels of image `index`, if the bound allows it."""
        if not self._is_writable or index >= len(self._sizes):
            return
        if pixels_HW3.nbytes > self._sizes[index]:  # larger than the label file says
            return
        file = self._file(index)
        part = file.with_suffix(f".{os.getpid()}{_UNFINISHED}")
        try:
            mark = _fingerprint(self._paths[index])
            height, width = pixels_HW3.shape[:2]
            with part.open("wb") as stream:
                stream.write(_HEADER.pack(_MAGIC, mark, height, width))
                stream.write(np.ascontiguousarray(pixels_HW3).data)
            part.replace(file)
        except OSError as error:
            self._is_writable = False
            part.unlink(missing_ok=True)
            log.warning("%s: no more images are kept here (%s)", self.folder, error.strerror)

    def _file(self, index: int) -> Path:
        return self.folder / f"{index:07d}{_SUFFIX}"

    def _clean(self) -> None:
        """Remove files beyond the bound, and what processes that died left half written."""
        old = time.time() - _ABANDONED_S
        for path in self.folder.iterdir():
            number = path.name.split(".")[0]
            is_beyond = not number.isdigit() or int(number) >= len(self._sizes)
            try:
                is_abandoned = path.suffix == _UNFINISHED and path.stat().st_mtime < old
                if is_abandoned or (path.suffix == _SUFFIX and is_beyond):
                    path.unlink()
            except OSError:  # another process was quicker
                continue


def _fingerprint(path: str) -> bytes:
    """16 bytes that say which file this is, in its present state."""
    state = os.stat(path)
    text = f"{path}\0{state.st_size}\0{state.st_mtime_ns}"
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).digest()[:16]
