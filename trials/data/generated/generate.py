"""A drawn data set in WIDER style: faces of many sizes with key points, and things like faces.

Good for demonstrations and tests, where no photographs lie at hand. Every image depends on
the seed, its split and its number only.
"""

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from search_spaces.errors import ConfigError
from trials.data.dataset import LABEL_FILE, SPLITS
from trials.data.generated.picture_drawing import Scene, draw_scene
from trials.data.labels import AnnotatedImage, Faces, write_labelv2
from trials.data.widerface_mat import write_ground_truth

EVENTS = ("0--Crowd", "1--Portrait", "2--Street", "3--Group")
JPEG_QUALITY = 90
MAX_IMAGES = 1_000_000


@dataclass(frozen=True, kw_only=True)
class GeneratedSet:
    """What to draw.

    Attributes:
        num_train: training images.
        num_val: validation images.
        seed: of everything.
        long_side: smallest and largest long side of an image, in pixels.
        subset_heights: least height in pixels of a face that counts as easy, medium, hard.
    """

    num_train: int
    num_val: int
    seed: int
    long_side: tuple[int, int]
    subset_heights: tuple[float, float, float] = (32.0, 16.0, 8.0)

    def __post_init__(self) -> None:
        for name in ("num_train", "num_val"):
            count = getattr(self, name)
            if not 1 <= count <= MAX_IMAGES:
                raise ConfigError(f"{name} must be from 1 to {MAX_IMAGES}, got {count}")
        if not 0 <= self.seed < 2**32:
            raise ConfigError(f"seed must be from 0 to {2**32 - 1}, got {self.seed}")
        low, high = self.long_side
        if not 64 <= low <= high <= 4096:
            rule = "long_side must be two sizes from 64 to 4096, the first not the larger"
            raise ConfigError(f"{rule}, got {self.long_side}")


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

    Images come first and the label files last, so that an interrupted call leaves nothing
    that looks complete; calling it again draws the same.

    Args:
        out: new or empty folder, or one with the same set half drawn.
        num_train: training images.
        num_val: validation images.
        seed: of everything.
        long_side: smallest and largest long side of an image, in pixels.
        progress: called with (images drawn, images in all).

    Raises:
        ConfigError: `out` holds a data set already, or is not a folder; a number that
            `GeneratedSet` refuses.
    """
    request = GeneratedSet(num_train=num_train, num_val=num_val, seed=seed, long_side=long_side)
    root = Path(out)
    if root.exists() and not root.is_dir():
        raise ConfigError(f"{root}: must be a folder")
    for split in SPLITS:
        if (root / split / LABEL_FILE).exists():
            raise ConfigError(f"{root}: holds a data set already; name a new folder")
    total = request.num_train + request.num_val
    drawn: dict[str, list[AnnotatedImage]] = {split: [] for split in SPLITS}
    for split, count in zip(SPLITS, (request.num_train, request.num_val), strict=True):
        for number in range(count):
            drawn[split].append(_draw_image(root, request, split, number))
            if progress is not None:
                progress(sum(map(len, drawn.values())), total)
    _write_truth(root / "val" / "gt", drawn["val"], request.subset_heights)
    for split in reversed(SPLITS):
        write_labelv2(root / split / LABEL_FILE, drawn[split])


def _draw_image(root: Path, request: GeneratedSet, split: str, number: int) -> AnnotatedImage:
    """Draw and save one image."""
    rng = np.random.default_rng([request.seed, SPLITS.index(split), number, 1])
    event = EVENTS[number % len(EVENTS)]
    name = f"{event}/{split}_{number:06d}.jpg"
    long_side = int(rng.integers(request.long_side[0], request.long_side[1] + 1))
    short_side = round(long_side * rng.uniform(0.6, 0.85))
    tall = rng.random() < 0.2
    width, height = (short_side, long_side) if tall else (long_side, short_side)
    scene = draw_scene(width, height, crowd=event == EVENTS[0], rng=rng)
    path = root / split / "images" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    scene.image.save(path, format="JPEG", quality=JPEG_QUALITY)  # drawn again if cut short
    return AnnotatedImage(name=name, path=path, width=width, height=height, faces=_faces(scene))


def _faces(scene: Scene) -> Faces:
    """The drawn faces as annotations; coordinates to a tenth of a pixel."""
    faces = Faces.of_boxes([face.box for face in scene.faces])
    for index, face in enumerate(scene.faces):
        faces.keypoints_N53[index, :, :2] = face.keypoints_52
        faces.keypoints_N53[index, :, 2] = 0
    return Faces(
        boxes_N4=faces.boxes_N4.round(1),
        keypoints_N53=faces.keypoints_N53.round(1),
        ignored_N=faces.ignored_N,
    )


def _write_truth(folder: Path, images: Sequence[AnnotatedImage], heights: Sequence[float]) -> None:
    """WIDER-style ground truth: a face counts where it is tall enough."""
    boxes, counting = {}, [dict[str, np.ndarray]() for _ in heights]
    for image in images:
        key = image.name.rsplit(".", 1)[0]
        corners = image.faces.boxes_N4.astype(np.float64)
        boxes[key] = np.concatenate([corners[:, :2], corners[:, 2:] - corners[:, :2]], axis=1)
        for chosen, least in zip(counting, heights, strict=True):
            chosen[key] = np.flatnonzero(boxes[key][:, 3] >= least)
    easy, medium, hard = counting
    write_ground_truth(folder, boxes, easy=easy, medium=medium, hard=hard)
