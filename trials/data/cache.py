"""Cache of decoded images in files, shared by all trials of a machine.

Decoding a JPEG costs more than everything else that is done to a training image. Here each
image is decoded once: its pixels are kept in a file that processes map into their memory, so
that the system holds one copy for all of them and can drop it when memory is short.

The images kept follow from the label file and the bound alone: the first ones that fit. So
processes need no agreement, and the bound holds for all of them together.
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
HEADER = struct.Struct("<8s16sII")  # magic, fingerprint of the image file, height, width
MAGIC = b"SCRFDRGB"
SUFFIX, UNFINISHED = ".rgb", ".part"
ABANDONED_S = 3600.0

log = logging.getLogger(__name__)


class ImageCache:
    """Decoded images of one split of a data set in a folder of files.

    A file records path, size and modification time of its image. One that does not match is
    written again, so that a changed image is never mistaken for the old one. Where a file
    cannot be written, the image is decoded each time.
    """

    def __init__(
        self,
        folder: str | os.PathLike[str],
        images: Sequence[AnnotatedImage],
        max_bytes: int = DEFAULT_FILE_CACHE_BYTES,
    ) -> None:
        """Open or create the cache; files of images beyond the bound are removed.

        Args:
            folder: folder on a disk of this machine; many data sets may share it.
            images: images of the split, in the order of its label file.
            max_bytes: bound on the pixels kept of this split.

        Raises:
            ConfigError: a negative bound.
            OSError: the folder cannot be created.
        """
        if max_bytes < 0:
            raise ConfigError(f"the image cache needs a size of at least 0, got {max_bytes}")
        self._paths = [os.path.abspath(image.path) for image in images]
        sizes = np.array([3 * image.width * image.height for image in images], dtype=np.int64)
        fits = np.cumsum(sizes + HEADER.size) <= max_bytes
        self._sizes = sizes[fits].tolist()  # the first ones, since sums grow
        common = os.path.commonpath(self._paths) if self._paths else ""
        self.folder = Path(folder) / hashlib.sha256(common.encode()).hexdigest()[:16]
        self.folder.mkdir(parents=True, exist_ok=True)
        self._is_writable = True
        self._clean()

    def __len__(self) -> int:
        """Return how many images the bound allows."""
        return len(self._sizes)

    def get(self, index: int) -> Image | None:
        """Return the pixels of image `index` (H, W, 3), or None if they are not cached.

        The array is the mapped file; writing to it changes only this process's copy.
        """
        if index >= len(self._sizes):
            return None
        try:
            with self._file(index).open("rb") as stream:
                content = mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_COPY)
            magic, mark, height, width = HEADER.unpack_from(content)
            is_current = magic == MAGIC and mark == _fingerprint(self._paths[index])
        except (OSError, ValueError, struct.error):
            return None
        if not is_current or len(content) != HEADER.size + 3 * height * width:
            return None
        pixels = np.frombuffer(content, np.uint8, offset=HEADER.size)
        return pixels.reshape(height, width, 3)

    def put(self, index: int, pixels_HW3: Image) -> None:
        """Keep the pixels of image `index` if the bound allows it."""
        if not self._is_writable or index >= len(self._sizes):
            return
        if pixels_HW3.nbytes > self._sizes[index]:  # larger than the label file says
            return
        file = self._file(index)
        part = file.with_suffix(f".{os.getpid()}{UNFINISHED}")
        try:
            mark = _fingerprint(self._paths[index])
            height, width = pixels_HW3.shape[:2]
            with part.open("wb") as stream:
                stream.write(HEADER.pack(MAGIC, mark, height, width))
                stream.write(np.ascontiguousarray(pixels_HW3).data)
            part.replace(file)
        except OSError as error:
            self._is_writable = False
            part.unlink(missing_ok=True)
            log.warning("%s: no more images are kept here (%s)", self.folder, error.strerror)

    def _file(self, index: int) -> Path:
        return self.folder / f"{index:07d}{SUFFIX}"

    def _clean(self) -> None:
        """Remove files beyond the bound, and unfinished files of killed processes."""
        old = time.time() - ABANDONED_S
        for path in self.folder.iterdir():
            number = path.name.split(".")[0]
            is_beyond = not number.isdigit() or int(number) >= len(self._sizes)
            try:
                is_abandoned = path.suffix == UNFINISHED and path.stat().st_mtime < old
                if is_abandoned or (path.suffix == SUFFIX and is_beyond):
                    path.unlink()
            except OSError:  # another process removed it
                continue


def _fingerprint(path: str) -> bytes:
    """Return 16 bytes that identify a file in its present state."""
    state = os.stat(path)
    text = f"{path}\0{state.st_size}\0{state.st_mtime_ns}"
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).digest()[:16]
