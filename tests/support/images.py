"""Image files and small data sets for tests."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from trials.data.images import Image, encoded
from trials.data.labels import AnnotatedImage, Faces, write_labelv2


def noise(height: int, width: int, seed: int = 0) -> Image:
    """Return uniformly distributed pixels (height, width, 3), the same for the same seed."""
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def save_image(path: Path, image_HW3: Image) -> Path:
    """Write an image, and its folder, in the format of the path's suffix."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(encoded(image_HW3, path.suffix))
    return path


def make_split(
    root: Path, sizes: Sequence[tuple[int, int]], boxes: Sequence[Sequence[float]]
) -> list[AnnotatedImage]:
    """Write `root/train`: images `0.png`, ... of noise by (height, width), each with all boxes."""
    images = []
    for number, (height, width) in enumerate(sizes):
        path = save_image(root / f"train/images/{number}.png", noise(height, width, number))
        images.append(
            AnnotatedImage(
                name=path.name, path=path, width=width, height=height, faces=Faces.of_boxes(boxes)
            )
        )
    write_labelv2(root / "train/labelv2.txt", images)
    return images
