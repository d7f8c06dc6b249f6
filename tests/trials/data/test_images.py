"""Decoding of every kind of image file, and resizing."""

import hashlib
import struct
import zlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cv2
import numpy as np
import pytest
from images import noise

from search_spaces.errors import DataError
from trials.data.images import (
    Image,
    encoded,
    fitted_size,
    read_image,
    read_size,
    resize,
)

GOLDEN = Path(__file__).resolve().parents[2] / "golden"
CONTAINERS = {"jpeg": ".jpg", "png": ".png", "webp": ".webp"}


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(size: tuple[int, int], depth: int, colour_type: int, rows: bytes, *extra: bytes) -> bytes:
    """Return a PNG file of (height, width); rows begin with a zero, `extra` are whole chunks."""
    header = struct.pack(">IIBBBBB", size[1], size[0], depth, colour_type, 0, 0, 0)
    data = chunk(b"IHDR", header) + b"".join(extra) + chunk(b"IDAT", zlib.compress(rows))
    return b"\x89PNG\r\n\x1a\n" + data + chunk(b"IEND", b"")


def with_exif(content: bytes, tiff: bytes, size: tuple[int, int]) -> bytes:
    """Return a JPEG, PNG or WEBP file of (height, width) with EXIF data added."""
    if content[:2] == b"\xff\xd8":
        data = b"Exif\0\0" + tiff
        return content[:2] + b"\xff\xe1" + struct.pack(">H", len(data) + 2) + data + content[2:]
    if content[:4] == b"\x89PNG":
        return content[:33] + chunk(b"eXIf", tiff) + content[33:]
    sides = b"".join(struct.pack("<I", side - 1)[:3] for side in size[::-1])
    extended = b"VP8X" + struct.pack("<II", 10, 8) + sides + content[12:]
    body = b"WEBP" + extended + b"EXIF" + struct.pack("<I", len(tiff)) + tiff
    return b"RIFF" + struct.pack("<I", len(body)) + body


def orientation(value: int, order: str = "<") -> bytes:
    mark = {"<": b"II*\0", ">": b"MM\0*"}[order]
    entry = struct.pack(f"{order}HHHIHH", 1, 0x0112, 3, 1, value, 0)
    return mark + struct.pack(f"{order}I", 8) + entry + b"\0" * 4


def read(tmp_path: Path, content: bytes) -> Image:
    (tmp_path / "image").write_bytes(content)
    pixels = read_image(tmp_path / "image")
    assert pixels.dtype == np.uint8
    assert read_size(tmp_path / "image") == pixels.shape[1::-1]
    return pixels


@pytest.mark.parametrize("suffix", [".png", ".bmp", ".ppm", ".jpg", ".webp"])
def test_written_pixels_are_read(tmp_path: Path, suffix: str) -> None:
    pixels = cv2.resize(noise(3, 4), (20, 15), interpolation=cv2.INTER_CUBIC)
    apart = np.abs(read(tmp_path, encoded(pixels, suffix)).astype(int) - pixels)
    assert apart.mean() <= (0 if suffix in (".png", ".bmp", ".ppm") else 12)


@pytest.mark.parametrize("channels", [1, 3, 4])
@pytest.mark.parametrize("depth", [np.uint8, np.uint16])
def test_other_channels_and_depths_become_rgb(
    tmp_path: Path, channels: int, depth: type[np.unsignedinteger]
) -> None:
    top = np.iinfo(depth).max + 1
    stored = np.random.default_rng(0).integers(0, top, (4, 5, channels)).astype(depth)
    upper = (stored >> (8 * (stored.itemsize - 1))).astype(np.uint8)  # no rounding
    expected = upper[..., :3][..., ::-1] if channels > 1 else upper.repeat(3, axis=2)
    found = read(tmp_path, cv2.imencode(".png", stored)[1].tobytes())
    np.testing.assert_array_equal(found, expected)


def test_palette_bits_and_grey_with_alpha_become_rgb(tmp_path: Path) -> None:
    palette = chunk(b"PLTE", bytes([1, 2, 3, 200, 100, 0])), chunk(b"tRNS", b"\0")
    found = read(tmp_path, png((1, 3), 8, 3, b"\0\1\0\1", *palette))
    assert found.tolist() == [[[200, 100, 0], [1, 2, 3], [200, 100, 0]]]
    assert read(tmp_path, png((1, 3), 1, 0, b"\0\xa0"))[0, :, 1].tolist() == [255, 0, 255]
    grey = read(tmp_path, png((1, 2), 8, 4, b"\0\x07\0\x50\xff"))
    assert grey.tolist() == [[[7, 7, 7], [80, 80, 80]]]


def test_cmyk_becomes_rgb() -> None:
    # left c, m, y, k = 0, 200, 50, 20; right 90, 10, 0, 60: about (255 - c) * (255 - k) / 255
    pixels = read_image(GOLDEN / "cmyk.jpg")
    np.testing.assert_allclose(pixels[8, 2], [235, 51, 189], atol=2)
    np.testing.assert_allclose(pixels[8, 13], [126, 187, 195], atol=2)


def test_the_first_of_several_images_in_a_file_is_read(tmp_path: Path) -> None:
    first, second = (encoded(noise(8, 8, seed), ".jpg") for seed in (0, 1))
    np.testing.assert_array_equal(read(tmp_path, first + second), read(tmp_path, first))


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("container", CONTAINERS)
def test_exif_orientation_is_applied(tmp_path: Path, container: str, order: str) -> None:
    plain = encoded(noise(10, 20), CONTAINERS[container])
    stored = read(tmp_path, plain)
    by_value = {
        0: stored, 1: stored, 2: stored[:, ::-1], 3: np.rot90(stored, 2), 4: stored[::-1],
        5: stored.transpose(1, 0, 2), 6: np.rot90(stored, -1),
        7: np.rot90(stored, 2).transpose(1, 0, 2), 8: np.rot90(stored), 9: stored,
    }  # fmt: skip
    for value, expected in by_value.items():
        found = read(tmp_path, with_exif(plain, orientation(value, order), (10, 20)))
        np.testing.assert_array_equal(found, expected, err_msg=str(value))


@pytest.mark.parametrize("container", ["png", "webp"])
def test_the_size_is_that_of_the_pixels_where_exif_data_have_the_prefix_of_jpeg(
    tmp_path: Path, container: str
) -> None:
    plain = encoded(noise(10, 20), CONTAINERS[container])
    read(tmp_path, with_exif(plain, b"Exif\0\0" + orientation(6), (10, 20)))


@pytest.mark.parametrize("container", CONTAINERS)
@pytest.mark.parametrize("tiff", [b"", b"II*\0\xff\xff\xff\xff", orientation(6)[:15], b"x" * 30])
def test_damaged_exif_data_are_ignored(tmp_path: Path, container: str, tiff: bytes) -> None:
    content = with_exif(encoded(noise(10, 20), CONTAINERS[container]), tiff, (10, 20))
    assert read(tmp_path, content).shape == (10, 20, 3)


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".webp", ".bmp", ".ppm"])
def test_a_file_cut_short_is_an_error_that_names_it_without_output_of_opencv(
    tmp_path: Path, suffix: str, capfd: pytest.CaptureFixture[str]
) -> None:
    whole = encoded(noise(64, 64), suffix)
    path = tmp_path / "cut.jpg"
    for length in (1, 3, 20, len(whole) // 2, len(whole) - 20):
        path.write_bytes(whole[:length])
        with pytest.raises(DataError, match=r"cut.jpg: the image cannot be decoded \("):
            read_image(path)
    assert capfd.readouterr() == ("", "")


def odd_files() -> dict[str, bytes]:
    """Return files that decode, with a warning of libpng or libjpeg."""
    jpg, image = encoded(noise(40, 40), ".jpg"), encoded(noise(40, 40), ".png")
    profile = b"icc\0\0" + zlib.compress(b"no profile")
    checksum = chunk(b"tEXt", b"a\0b")[:-1] + b"?"
    return {
        "extraneous.jpg": jpg[:-2] + b"\0" * 8 + jpg[-2:],
        "profile.png": image[:33] + chunk(b"iCCP", profile) + image[33:],
        "checksum.png": image[:33] + checksum + image[33:],
    }


@pytest.mark.parametrize("name", odd_files())
def test_warnings_of_the_c_libraries_do_not_reach_the_user(
    tmp_path: Path, name: str, capfd: pytest.CaptureFixture[str]
) -> None:
    content = odd_files()[name]
    (tmp_path / name).write_bytes(content)
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(read_image, [tmp_path / name] * 20))
    assert capfd.readouterr() == ("", "")
    cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR)
    assert capfd.readouterr().err  # the library warns, and may do so again outside of read_image


@pytest.mark.parametrize("content", [b"not an image", b"GIF89a" + b"\1\0" * 100])
@pytest.mark.parametrize("call", [read_image, read_size])
def test_missing_files_and_other_formats_are_refused(
    tmp_path: Path, content: bytes, call: Callable[[Path], object]
) -> None:
    with pytest.raises(DataError, match=r"x.jpg: the image is missing"):
        call(tmp_path / "x.jpg")
    (tmp_path / "x.jpg").write_bytes(content)
    with pytest.raises(DataError, match=r"x.jpg: .*not a JPEG, PNG, WEBP, BMP or PNM image"):
        call(tmp_path / "x.jpg")


def test_an_empty_file_is_called_empty(tmp_path: Path) -> None:
    (tmp_path / "x.jpg").touch()
    for call in (read_image, read_size):
        with pytest.raises(DataError, match=r"x.jpg: .*the file is empty"):
            call(tmp_path / "x.jpg")


@pytest.mark.parametrize("size", [(9_000, 9_000), (60_000, 60_000), (0, 5)])
@pytest.mark.parametrize("container", ["ppm", "png", "bmp", "jpeg"])
def test_a_header_with_too_many_pixels_is_refused_before_decoding(
    tmp_path: Path, container: str, size: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cv2, "imdecode", lambda *_: pytest.fail("decoded"))
    headers = {
        "ppm": b"P6\n# comment\n%d %d 255\n" % size,
        "png": png(size[::-1], 8, 2, b""),
        "bmp": b"BM" + b"\0" * 12 + struct.pack("<Iii", 40, *size) + b"\0" * 28,
        "jpeg": b"\xff\xd8\xff\xc0\0\x11\x08" + struct.pack(">HH", *size[::-1]) + b"\0" * 20,
    }
    (tmp_path / "bomb").write_bytes(headers[container])
    for call in (read_image, read_size):
        with pytest.raises(DataError, match=rf"may have 1 to 80000000 pixels, got {size[0]} x"):
            call(tmp_path / "bomb")


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        # half-pixel centres: positions -0.25, 0.25, 0.75, 1.25 -> weights 0, 1/4, 3/4, 1
        ([0, 100], [0, 25, 75, 100]),
        # two pixels at positions 1.5 and 5.5, without an average of all
        ([0, 10, 20, 90, 90, 30, 50, 90], [15, 40]),
    ],
)
def test_resize_by_hand(values: list[int], expected: list[int]) -> None:
    pixels = np.repeat(np.array([values], np.uint8)[:, :, None], 3, axis=2)
    assert resize(pixels, (1, len(expected)))[0, :, 0].tolist() == expected


def test_resize_never_returns_the_callers_memory() -> None:
    pixels = noise(8, 8)
    assert not np.shares_memory(resize(pixels, (8, 8)), pixels)


@pytest.mark.parametrize(
    "cut", [np.s_[3:40, 5:60], np.s_[:, ::-1], np.s_[::2, ::3], np.s_[7:8, 9:10]]
)
def test_a_view_is_resized_as_a_copy_of_it(cut: tuple[slice, slice]) -> None:
    view = noise(60, 80)[cut]
    np.testing.assert_array_equal(resize(view, (31, 33)), resize(view.copy(), (31, 33)))


def test_fitted_size_by_hand() -> None:
    assert fitted_size(678, 1024, long_edge=640, short_edge=640) == (424, 640)  # 423.75
    assert fitted_size(100, 50, long_edge=640, short_edge=640) == (640, 320)
    assert fitted_size(1000, 1000, long_edge=1650, short_edge=1100) == (1100, 1100)
    assert fitted_size(1, 5000, long_edge=64, short_edge=64) == (1, 64)


@pytest.mark.parametrize("index", [0, 5])
def test_input_of_the_reference_is_reproduced_to_the_bit(golden_dir: Path, index: int) -> None:
    with np.load(golden_dir / "detect_scrfd_0.5g.npz") as golden:
        name, sha = str(golden["names"][index]), str(golden[f"imgsha_{index}"])
        blob_3SS = golden[f"blob_{index}"][0]
    image = read_image(golden_dir / "images" / name)
    bgr = np.ascontiguousarray(image[..., ::-1])
    assert hashlib.sha1(bgr.tobytes(), usedforsecurity=False).hexdigest() == sha
    resized_3SS = resize(image, (640, 640)).transpose(2, 0, 1)
    np.testing.assert_array_equal((resized_3SS.astype(np.float32) - 127.5) / 128, blob_3SS)
