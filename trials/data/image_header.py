"""Size of an image from the header of its file, without decoding it.

OpenCV has no call for this. The size is needed before decoding, to refuse an image that would
fill the memory, and to read the sizes of thousands of images quickly.
"""

import re
import struct
from typing import BinaryIO

PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
JPEG_FRAMES = {*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC}  # SOF markers: these hold the size
JPEG_EXIF, EXIF_PREFIX = 0xE1, b"Exif\0\0"
ORIENTATION, FIRST_TURNED = 0x0112, 5  # EXIF tag; values 5 to 8 exchange width and height
PORTABLE = re.compile(rb"P[1-6](?:\s|#[^\n]*\n)+(\d{1,9})(?:\s|#[^\n]*\n)+(\d{1,9})\s")


def header_size(stream: BinaryIO) -> tuple[int, int]:
    """Return (width, height) of an image as it is shown, EXIF orientation applied.

    Args:
        stream: a JPEG, PNG, WEBP, BMP or PNM file, at its start.

    Raises:
        ValueError: another format, or a damaged header.
    """
    start = stream.read(512)
    if not start:
        raise ValueError("the file is empty")
    try:
        if start.startswith(b"\xff\xd8"):
            return _jpeg_size(stream)
        if start.startswith(PNG_SIGNATURE):
            return _png_size(stream, start)
        if start.startswith(b"RIFF") and start[8:12] == b"WEBP":
            return _webp_size(stream, start)
        if start.startswith(b"BM"):
            return _bmp_size(start)
        if found := PORTABLE.match(start):
            return int(found[1]), int(found[2])
    except struct.error as error:
        raise ValueError("the header is cut short") from error
    raise ValueError("the file is not a JPEG, PNG, WEBP, BMP or PNM image")


def _jpeg_size(stream: BinaryIO) -> tuple[int, int]:
    exif = b""
    stream.seek(2)
    while True:
        prefix, marker, length = struct.unpack(">BBH", stream.read(4))
        if prefix != 0xFF or length < 2:
            raise ValueError("the JPEG header is damaged")
        if marker == 0xFF:  # padding
            stream.seek(-3, 1)
        elif marker in JPEG_FRAMES:
            _, height, width = struct.unpack(">BHH", stream.read(5))
            return _shown((width, height), exif)
        elif marker == JPEG_EXIF and not exif:
            payload = stream.read(length - 2)
            exif = payload[len(EXIF_PREFIX) :] if payload.startswith(EXIF_PREFIX) else b""
        else:
            stream.seek(length - 2, 1)


def _png_size(stream: BinaryIO, start: bytes) -> tuple[int, int]:
    width, height = struct.unpack_from(">II", start, 16)
    stream.seek(len(PNG_SIGNATURE))
    return _shown((width, height), _chunk(stream, b"eXIf", ">I4s"))


def _webp_size(stream: BinaryIO, start: bytes) -> tuple[int, int]:
    kind = start[12:16]
    if kind == b"VP8 ":  # lossy: 14 bits each, after the frame tag
        width, height = struct.unpack_from("<HH", start, 26)
        return width & 0x3FFF, height & 0x3FFF
    if kind == b"VP8L":  # lossless: 14 bits each, less one
        bits = struct.unpack_from("<I", start, 21)[0]
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    if kind != b"VP8X":
        raise ValueError("the WEBP header is damaged")
    flags, low_x, high_x, low_y, high_y = struct.unpack_from("<B3xHBHB", start, 20)
    stream.seek(12)
    exif = _chunk(stream, b"EXIF", "<4sI") if flags & 8 else b""
    return _shown((low_x + (high_x << 16) + 1, low_y + (high_y << 16) + 1), exif)


def _bmp_size(start: bytes) -> tuple[int, int]:
    is_old = struct.unpack_from("<I", start, 14)[0] == 12
    width, height = struct.unpack_from("<HH" if is_old else "<ii", start, 18)
    return width, abs(height)  # negative where the rows run from top to bottom


def _chunk(stream: BinaryIO, wanted: bytes, layout: str) -> bytes:
    """Return the data of the first chunk of a kind, at most 64 KB; empty if there is none."""
    while len(head := stream.read(8)) == 8:
        fields = struct.unpack(layout, head)
        (length,) = (field for field in fields if isinstance(field, int))
        if wanted in fields:
            return stream.read(min(length, 1 << 16))
        stream.seek(length + (length % 2 if layout[0] == "<" else 4), 1)  # padding, or checksum
    return b""


def _shown(size: tuple[int, int], tiff: bytes) -> tuple[int, int]:
    """Exchange width and height if the EXIF orientation turns the image by a quarter."""
    order = {b"II": "<", b"MM": ">"}.get(tiff[:2])
    if order is None:
        return size
    try:
        directory = struct.unpack_from(f"{order}I", tiff, 4)[0]
        for entry in range(struct.unpack_from(f"{order}H", tiff, directory)[0]):
            tag, value = struct.unpack_from(f"{order}H6xH", tiff, directory + 2 + 12 * entry)
            if tag == ORIENTATION:
                return size[::-1] if FIRST_TURNED <= value <= 8 else size
    except struct.error:  # damaged EXIF data: OpenCV does not turn the image either
        pass
    return size
