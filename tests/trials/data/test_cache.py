"""Cache of decoded images in files."""

import logging
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from images import make_split, save_image

from search_spaces.errors import ConfigError
from trials.data.cache import ImageCache
from trials.data.images import read_image
from trials.data.labels import AnnotatedImage

HEIGHT, WIDTH = 12, 16
HEADER = 32
FILE = HEIGHT * WIDTH * 3 + HEADER


def make_images(root: Path) -> list[AnnotatedImage]:
    return make_split(root, [(HEIGHT, WIDTH)] * 3, [[1, 1, 9, 9]])


def fill(cache: ImageCache, images: list[AnnotatedImage]) -> None:
    for index, image in enumerate(images):
        cache.put(index, read_image(image.path))


def cached(cache: ImageCache, index: int) -> np.ndarray:
    image = cache.get(index)
    assert image is not None
    return image


def files_of(cache: ImageCache) -> list[str]:
    return sorted(path.name for path in cache.folder.iterdir())


def test_cached_images_are_read_back_from_the_folder(tmp_path: Path) -> None:
    images = make_images(tmp_path)
    assert ImageCache(tmp_path / "c", images).get(0) is None
    fill(ImageCache(tmp_path / "c", images), images)
    again = ImageCache(tmp_path / "c", images)
    for index, image in enumerate(images):
        np.testing.assert_array_equal(cached(again, index), read_image(image.path))
    cached(again, 0)[:] = 0  # changes the caller's copy only
    assert cached(again, 0).max() > 0


def test_the_bound_keeps_the_first_images_that_fit(tmp_path: Path) -> None:
    images = make_images(tmp_path)
    cache = ImageCache(tmp_path / "c", images, max_bytes=2 * FILE)
    fill(cache, images)
    assert len(cache) == 2
    assert [cache.get(index) is not None for index in range(3)] == [True, True, False]
    assert sum(path.stat().st_size for path in cache.folder.iterdir()) == 2 * FILE
    assert len(ImageCache(tmp_path / "c", images, max_bytes=2 * FILE - 1)) == 1
    assert files_of(cache) == ["0000000.rgb"]  # a smaller bound removes what is beyond it
    assert len(ImageCache(tmp_path / "d", images, max_bytes=0)) == 0
    with pytest.raises(ConfigError, match="at least 0, got -1"):
        ImageCache(tmp_path / "d", images, max_bytes=-1)


def test_an_image_larger_than_its_label_says_is_not_kept(tmp_path: Path) -> None:
    cache = ImageCache(tmp_path / "c", make_images(tmp_path))
    cache.put(0, np.zeros((HEIGHT + 1, WIDTH, 3), np.uint8))
    assert cache.get(0) is None


@pytest.mark.parametrize("change", ["content", "time", "path"])
def test_a_changed_image_is_never_served_from_the_cache(tmp_path: Path, change: str) -> None:
    images = make_images(tmp_path)
    fill(ImageCache(tmp_path / "c", images), images)
    if change == "content":
        save_image(images[1].path, np.zeros((HEIGHT, WIDTH, 3), np.uint8))
    elif change == "time":
        os.utime(images[1].path, ns=(0, 0))
    else:
        images[1] = images[2]
    cache = ImageCache(tmp_path / "c", images)
    assert cache.get(0) is not None
    assert cache.get(1) is None
    cache.put(1, read_image(images[1].path))
    np.testing.assert_array_equal(cached(cache, 1), read_image(images[1].path))


@pytest.mark.parametrize(
    "damage",
    [
        lambda whole: b"",
        lambda whole: whole[:8],
        lambda whole: whole[:-1],
        lambda whole: b"x" * FILE,
        lambda whole: whole[:8] + b"x" * 99,
    ],
)
def test_damaged_files_are_ignored(tmp_path: Path, damage: Callable[[bytes], bytes]) -> None:
    images = make_images(tmp_path)
    cache = ImageCache(tmp_path / "c", images)
    fill(cache, images)
    file = cache.folder / "0000000.rgb"
    file.write_bytes(damage(file.read_bytes()))
    assert cache.get(0) is None


def test_unfinished_files_of_killed_processes_are_removed(tmp_path: Path) -> None:
    images = make_images(tmp_path)
    cache = ImageCache(tmp_path / "c", images)
    for name, age in (("0000000.77.part", 0), ("0000001.77.part", 10_000)):
        (cache.folder / name).write_bytes(b"half")
        moment = (cache.folder / name).stat().st_mtime - age
        os.utime(cache.folder / name, (moment, moment))
    assert files_of(ImageCache(tmp_path / "c", images)) == ["0000000.77.part"]


def test_a_folder_that_cannot_be_written_is_logged_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    images = make_images(tmp_path)
    cache = ImageCache(tmp_path / "c", images)
    cache.folder.rmdir()
    with caplog.at_level(logging.WARNING):
        fill(cache, images)
    assert len(caplog.records) == 1
    assert cache.get(0) is None
