import hashlib
import io
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image as Pillow

from search_spaces.errors import DataError
from trials.data.images import (
    Image,
    fitted_size,
    normalise,
    read_image,
    read_size,
    resize_bilinear,
    resize_fast,
)


def noise(height: int, width: int, seed: int = 0) -> Image:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def encoded(pixels: Image, **options: object) -> bytes:
    stream = io.BytesIO()
    Pillow.fromarray(pixels).save(stream, **options)  # type: ignore[arg-type]
    return stream.getvalue()


def test_png_pixels_are_read_exactly(tmp_path: Path) -> None:
    pixels = noise(5, 7)
    (tmp_path / "a.png").write_bytes(encoded(pixels, format="PNG"))
    np.testing.assert_array_equal(read_image(tmp_path / "a.png"), pixels)
    assert read_size(tmp_path / "a.png") == (7, 5)


@pytest.mark.parametrize("mode", ["L", "P", "RGBA", "CMYK", "1", "LA"])
def test_other_colour_modes_become_rgb(tmp_path: Path, mode: str) -> None:
    suffix = "TIFF" if mode == "CMYK" else "PNG"
    picture = Pillow.new("RGB", (4, 3), (255, 255, 255)).convert(mode)
    path = tmp_path / "a.img"
    picture.save(path, format="JPEG" if suffix == "TIFF" else "PNG")
    pixels = read_image(path)
    assert pixels.shape == (3, 4, 3)
    assert pixels.min() >= 254


def test_sixteen_bit_grey_keeps_its_upper_byte(tmp_path: Path) -> None:
    Pillow.fromarray(np.full((2, 2), 0x80FF, np.uint16)).save(tmp_path / "a.png")
    assert (read_image(tmp_path / "a.png") == 0x80).all()


def test_exif_orientation_is_not_applied(tmp_path: Path) -> None:
    exif = Pillow.Exif()
    exif[0x0112] = 6  # a viewer turns it by 90 degrees
    (tmp_path / "a.jpg").write_bytes(encoded(noise(10, 20), format="JPEG", exif=exif))
    assert read_image(tmp_path / "a.jpg").shape == (10, 20, 3)


@pytest.mark.parametrize("kind", ["jpeg", "png", "empty", "text", "gif"])
def test_broken_files_are_data_errors_that_name_the_file(tmp_path: Path, kind: str) -> None:
    whole = {name: encoded(noise(64, 64), format=name) for name in ("jpeg", "png", "gif")}
    content = {
        "jpeg": whole["jpeg"][: len(whole["jpeg"]) // 2],
        "png": whole["png"][: len(whole["png"]) // 2],
        "empty": b"",
        "text": b"not an image",
        "gif": whole["gif"],
    }
    path = tmp_path / "broken.jpg"
    path.write_bytes(content[kind])
    with pytest.raises(DataError, match=r"broken.jpg: the image cannot be decoded"):
        read_image(path)


def test_missing_image_is_said_to_be_missing(tmp_path: Path) -> None:
    for read in (read_image, read_size):
        with pytest.raises(DataError, match=r"no.jpg: the image is missing"):
            read(tmp_path / "no.jpg")


@pytest.mark.parametrize("side", [9_000, 12_000, 60_000])
def test_a_header_that_promises_too_many_pixels_is_refused(tmp_path: Path, side: int) -> None:
    header = b"P6 %d %d 255\n" % (side, side)
    (tmp_path / "bomb.ppm").write_bytes(header)
    with pytest.raises(DataError, match=r"bomb.ppm"):
        read_image(tmp_path / "bomb.ppm")


def test_resize_of_two_pixels_to_four_by_hand() -> None:
    # half-pixel centres: positions -0.25, 0.25, 0.75, 1.25 -> weights 0, 1/4, 3/4, 1
    pixels = np.repeat(np.array([[0, 100]], np.uint8)[:, :, None], 3, axis=2)
    assert resize_bilinear(pixels, (1, 4))[0, :, 0].tolist() == [0, 25, 75, 100]


def test_reduction_takes_two_pixels_and_does_not_average() -> None:
    # 8 -> 2: positions 1.5 and 5.5
    pixels = np.repeat(np.array([[0, 10, 20, 90, 90, 30, 50, 90]], np.uint8)[:, :, None], 3, axis=2)
    assert resize_bilinear(pixels, (1, 2))[0, :, 0].tolist() == [15, 40]


def test_a_flat_image_stays_flat_inside() -> None:
    pixels = np.full((9, 13, 3), 200, np.uint8)
    for size in ((1, 1), (30, 40), (9, 26), (5, 7)):
        resized = resize_bilinear(pixels, size)
        assert resized.shape == (*size, 3)
        assert set(np.unique(resized)) <= {199, 200}  # rounding at the upper and lower border
        assert (resize_fast(pixels, size) == 200).all()


@pytest.mark.parametrize(
    ("height", "width", "size"),
    [(40, 60, (64, 64)), (97, 31, (20, 33)), (50, 50, (50, 50)), (1, 1, (3, 4)), (300, 2, (9, 9))],
)
def test_fast_resize_is_within_one_grey_level(
    height: int, width: int, size: tuple[int, int]
) -> None:
    pixels = noise(height, width)
    fast = resize_fast(pixels, size).permute(1, 2, 0).numpy().astype(int)
    assert np.abs(fast - resize_bilinear(pixels, size)).max() <= 1


def test_fast_resize_never_returns_the_callers_memory() -> None:
    pixels = noise(8, 8)
    resized = resize_fast(pixels, (8, 8))
    pixels[:] = 0
    assert resized.sum() > 0


@pytest.mark.parametrize(
    "cut", [np.s_[3:40, 5:60], np.s_[:, ::-1], np.s_[::2, ::3], np.s_[7:8, 9:10]]
)
def test_a_view_is_resized_as_a_copy_of_it(cut: tuple[slice, slice]) -> None:
    view = noise(60, 80)[cut]
    assert torch.equal(resize_fast(view, (31, 33)), resize_fast(view.copy(), (31, 33)))


def test_normalise_maps_0_and_255_by_hand() -> None:
    pixels = np.array([[[0, 255, 128]]], np.uint8)
    expected = [-127.5 / 128, 127.5 / 128, 0.5 / 128]
    assert normalise(pixels)[:, 0, 0].tolist() == expected


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
    resized = normalise(resize_bilinear(image, (640, 640)))
    assert torch.equal(resized, torch.from_numpy(blob_3SS))
