"""Draw a data set in WIDER style: faces of many sizes with key points, and decoys.

For demonstrations and tests without photographs. Every image depends on the seed, its split
and its number only.
"""

import os
import shutil
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from search_spaces.errors import ConfigError
from trials.data.dataset import SPLITS
from trials.data.generated.pictures import draw_picture
from trials.data.ground_truth import to_xywh
from trials.data.images import encoded
from trials.data.labels import LABEL_FILE, AnnotatedImage, write_labelv2
from trials.data.widerface_mat import write_ground_truth
from trials.result import SUBSETS

EVENTS = ("0--Crowd", "1--Portrait", "2--Street", "3--Group")
SUBSET_HEIGHTS = (32.0, 16.0, 8.0)  # least height in pixels of an easy, medium, hard face
MAX_IMAGES = 1_000_000


def generate(
    out: str | os.PathLike[str],
    *,
    num_train: int = 480,
    num_val: int = 120,
    seed: int = 0,
    long_side: tuple[int, int] = (240, 360),
    progress: Callable[[int, int], None] | None = None,
) -> None:
    """Draw a data set into the folder `out`.

    The folder appears with all its files at once; an interrupted call leaves none.

    Args:
        out: new or empty folder.
        num_train: training images.
        num_val: validation images.
        seed: seed of everything.
        long_side: smallest and largest long side of an image, in pixels.
        progress: called with (images drawn, images in all).

    Raises:
        ConfigError: `out` is not a new or empty folder; a number is out of its range.
    """
    root, counts = Path(out), dict(zip(SPLITS, (num_train, num_val), strict=True))
    _check(root, counts, seed, long_side)
    root.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(prefix=f".{root.name}.", dir=root.parent))
    try:
        inner = temporary / "data"  # with the usual permissions, which mkdtemp does not give
        done = 0
        for split, count in counts.items():
            drawn = []
            for number in range(count):
                rng = np.random.default_rng([seed, SPLITS.index(split), number, 1])
                drawn.append(_draw_image(inner, split, number, long_side, rng))
                done += 1
                if progress is not None:
                    progress(done, sum(counts.values()))
            if split == "val":
                _write_truth(inner / split / "gt", drawn)
            write_labelv2(inner / split / LABEL_FILE, drawn)
        inner.replace(root)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _check(root: Path, counts: dict[str, int], seed: int, long_side: tuple[int, int]) -> None:
    """Raise ConfigError unless a set of these numbers can be drawn into the folder."""
    for split, count in counts.items():
        if not 1 <= count <= MAX_IMAGES:
            raise ConfigError(f"num_{split} must be from 1 to {MAX_IMAGES}, got {count}")
    if not 0 <= seed < 2**32:
        raise ConfigError(f"seed must be from 0 to {2**32 - 1}, got {seed}")
    if not 64 <= long_side[0] <= long_side[1] <= 4096:
        rule = "long_side must be two sizes from 64 to 4096, the first not the larger"
        raise ConfigError(f"{rule}, got {long_side}")
    if root.exists() and (not root.is_dir() or any(root.iterdir())):
        raise ConfigError(f"{root}: must be a new or empty folder")


def _draw_image(
    root: Path, split: str, number: int, long_side: tuple[int, int], rng: np.random.Generator
) -> AnnotatedImage:
    """Draw and write one image."""
    event = EVENTS[number % len(EVENTS)]
    long = int(rng.integers(long_side[0], long_side[1] + 1))
    width, height = long, round(long * rng.uniform(0.6, 0.85))
    if rng.random() < 0.2:
        width, height = height, width
    picture, faces = draw_picture(width, height, crowd=event == EVENTS[0], rng=rng)
    name = f"{event}/{split}_{number:06d}.jpg"
    path = root / split / "images" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(encoded(picture, path.suffix))
    return AnnotatedImage(name=name, path=path, width=width, height=height, faces=faces)


def _write_truth(folder: Path, images: Sequence[AnnotatedImage]) -> None:
    """Write WIDER-style ground truth, in which a face counts if it is high enough."""
    boxes = {image.name.rsplit(".", 1)[0]: to_xywh(image.faces.boxes_N4) for image in images}
    counted = {
        subset: {name: np.flatnonzero(box[:, 3] >= least) for name, box in boxes.items()}
        for subset, least in zip(SUBSETS, SUBSET_HEIGHTS, strict=True)
    }
    write_ground_truth(folder, boxes, **counted)
