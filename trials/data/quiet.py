"""Silence of the C libraries that decode images.

libpng and libjpeg write warnings about odd files ("iCCP: known incorrect sRGB profile", "extraneous
bytes before marker") with `fprintf(stderr, ...)`. OpenCV has no switch for these and the lines name
no file. While an image is decoded, the C variable `stderr` names /dev/null. File descriptor 2 stays
as it is, so that Python, its tracebacks and progress bars, in other threads too, are not affected.
"""

import ctypes
import os
import platform
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache

_quiet: set[object] = set()  # one for each running block; sets need no lock, which a fork may keep


@contextmanager
def without_c_messages() -> Iterator[None]:
    """Drop what C libraries write to `stderr` in the block. Does nothing without glibc."""
    if (streams := _streams()) is None:
        yield
        return
    variable, usual, null = streams
    block = object()
    _quiet.add(block)
    variable.value = null
    try:
        yield
    finally:
        _quiet.discard(block)
        if not _quiet:
            variable.value = usual


@cache
def _streams() -> tuple[ctypes.c_void_p, int | None, int] | None:
    """Return the variable `stderr`, its value, and a stream to /dev/null."""
    if platform.libc_ver()[0] != "glibc":
        return None
    library = ctypes.CDLL(None)
    library.fopen.restype = ctypes.c_void_p
    null = library.fopen(os.fsencode(os.devnull), b"w")
    variable = ctypes.c_void_p.in_dll(library, "stderr")
    return (variable, variable.value, null) if null else None
