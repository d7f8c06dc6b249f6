"""Drawn pictures: a cluttered background, heads of many sizes, and decoys among them."""

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFilter

from trials.data.generated.decoy_drawing import draw_decoy
from trials.data.generated.face_drawing import Patch, draw_head

PATCH_SIDES = (32, 64, 128, 256)
MIN_HEIGHT = 6.0  # pixels; smaller heads are a few grey dots
MAX_SHARE = 0.55  # of the picture's shorter side, for one head
MAX_OVERLAP = 0.15  # of the smaller head's box


@dataclass(frozen=True, kw_only=True, eq=False)
class DrawnFace:
    """A face in a picture: its box (x1, y1, x2, y2) and five key points, in pixels."""

    box: tuple[float, float, float, float]
    keypoints_52: npt.NDArray[np.float64]


@dataclass(frozen=True, kw_only=True, eq=False)
class Scene:
    """A finished picture with the faces in it."""

    image: Image.Image
    faces: tuple[DrawnFace, ...]


def draw_scene(width: int, height: int, *, crowd: bool, rng: np.random.Generator) -> Scene:
    """Draw a picture; a crowd has many small faces, others have a few of any size."""
    image = _background(width, height, rng)
    heads = _head_heights(min(width, height), crowd, rng)
    decoys = _head_heights(min(width, height), crowd, rng)[: 1 + len(heads) // 2]
    plan = [(size, True) for size in heads] + [(size, False) for size in decoys]
    faces: list[DrawnFace] = []
    taken: list[tuple[float, float, float, float]] = []
    for size, is_face in sorted(plan):  # the far ones first
        patch = (draw_head if is_face else draw_decoy)(_patch_side(size), rng)
        placed = _place(image, patch, size, taken, rng)
        if placed is not None and is_face:
            faces.append(placed)
    return Scene(image=_finish(image, rng), faces=tuple(faces))


def _head_heights(short_side: int, crowd: bool, rng: np.random.Generator) -> list[float]:
    """Heights of heads in pixels, uniform on a logarithmic scale."""
    if crowd:
        count, low, high = int(rng.integers(6, 19)), MIN_HEIGHT, short_side * 0.14
    else:
        count, low, high = int(rng.integers(1, 6)), 9.0, short_side * MAX_SHARE
    return [float(size) for size in np.exp(rng.uniform(math.log(low), math.log(high), count))]


def _patch_side(head_height: float) -> int:
    """The smallest patch that shows a head of that height without enlarging it."""
    return next((side for side in PATCH_SIDES if side >= head_height * 1.7), PATCH_SIDES[-1])


def _place(
    image: Image.Image,
    patch: Patch,
    head_height: float,
    taken: list[tuple[float, float, float, float]],
    rng: np.random.Generator,
) -> DrawnFace | None:
    """Paste a patch where it covers no other head; None if no such place is found."""
    side = max(4, round(head_height / (patch.box[3] - patch.box[1])))
    x1, y1, x2, y2 = (value * side for value in patch.box)
    for _ in range(20):
        left = round(rng.uniform(-x1, image.width - x2))
        top = round(rng.uniform(-y1, image.height - y2))
        box = (left + x1, top + y1, left + x2, top + y2)
        inside = box[0] >= 0 and box[1] >= 0 and box[2] <= image.width and box[3] <= image.height
        if inside and all(_overlap(box, other) <= MAX_OVERLAP for other in taken):
            break
    else:
        return None
    _body(image, box, taken, rng)
    taken.append(box)
    small = patch.image.resize((side, side), Image.Resampling.BILINEAR)
    if rng.random() < 0.25:
        small = small.filter(ImageFilter.GaussianBlur(rng.uniform(0.3, 0.02 * side + 0.5)))
    image.paste(small, (left, top), small)
    if rng.random() < 0.12:
        _occlude(image, box, rng)
    return DrawnFace(box=box, keypoints_52=patch.keypoints_52 * side + (left, top))


def _overlap(
    one: tuple[float, float, float, float], other: tuple[float, float, float, float]
) -> float:
    """Shared area as a part of the smaller box."""
    width = min(one[2], other[2]) - max(one[0], other[0])
    height = min(one[3], other[3]) - max(one[1], other[1])
    areas = [(box[2] - box[0]) * (box[3] - box[1]) for box in (one, other)]
    return max(0.0, width) * max(0.0, height) / min(areas)


def _body(
    image: Image.Image,
    box: tuple[float, float, float, float],
    taken: list[tuple[float, float, float, float]],
    rng: np.random.Generator,
) -> None:
    """Shoulders under a head, more often than not, unless they would hide another head."""
    wanted = rng.random() < 0.65
    wide, tall = box[2] - box[0], box[3] - box[1]
    half, length = wide * rng.uniform(0.8, 1.3), tall * rng.uniform(0.4, 1.2)
    x, top, colour = (box[0] + box[2]) / 2, box[3] - tall * 0.12, _colour(rng)
    area = (x - half, top, x + half, box[3] + length)
    if not wanted or any(_overlap(area, other) > MAX_OVERLAP for other in taken):
        return
    corners = [(x - wide * 0.25, top), (x + wide * 0.25, top), (area[2], area[3])]
    ImageDraw.Draw(image).polygon([*corners, (area[0], area[3])], fill=colour)


def _occlude(
    image: Image.Image, box: tuple[float, float, float, float], rng: np.random.Generator
) -> None:
    """Something over a third of a head: a bar, or a pole."""
    x1, y1, x2, y2 = box
    draw = ImageDraw.Draw(image)
    share = rng.uniform(0.15, 0.35)
    if rng.random() < 0.5:
        draw.rectangle((x1, y2 - (y2 - y1) * share, x2, y2), fill=_colour(rng))
    else:
        left = rng.uniform(x1, x2 - (x2 - x1) * share)
        draw.rectangle((left, y1, left + (x2 - x1) * share, y2), fill=_colour(rng))


def _background(width: int, height: int, rng: np.random.Generator) -> Image.Image:
    """Soft clouds of colour with shapes, lines and writing-like strokes on them."""
    cells = int(rng.integers(2, 9))
    noise = rng.integers(0, 256, (cells, cells + 1, 3), dtype=np.uint8)
    clouds = Image.fromarray(noise).resize((width, height), Image.Resampling.BICUBIC)
    plain = Image.new("RGB", (width, height), _colour(rng))
    image = Image.blend(clouds, plain, rng.uniform(0, 0.7))
    draw = ImageDraw.Draw(image)
    for _ in range(int(rng.integers(5, 30))):
        _clutter(draw, width, height, rng)
    for _ in range(int(rng.integers(0, 4))):
        _writing(draw, width, height, rng)
    return image


def _clutter(draw: ImageDraw.ImageDraw, width: int, height: int, rng: np.random.Generator) -> None:
    """One shape somewhere."""
    x, y = rng.uniform(0, width), rng.uniform(0, height)
    w, h = np.exp(rng.uniform(math.log(3), math.log(width / 2), 2)).tolist()
    kind, colour = int(rng.integers(4)), _colour(rng)
    if kind == 0:
        draw.rectangle((x, y, x + w, y + h), fill=colour)
    elif kind == 1:
        draw.ellipse((x, y, x + w, y + h), fill=colour, outline=_colour(rng))
    elif kind == 2:
        draw.line((x, y, x + w, y + h * rng.choice((-1, 1))), fill=colour, width=1 + int(w / 60))
    else:
        corners = rng.uniform(-0.5, 0.5, (int(rng.integers(3, 6)), 2)) * (w, h) + (x, y)
        draw.polygon([(float(u), float(v)) for u, v in corners], fill=colour)


def _writing(draw: ImageDraw.ImageDraw, width: int, height: int, rng: np.random.Generator) -> None:
    """A row of short strokes, like letters from afar."""
    size, colour = rng.uniform(4, 16), _colour(rng)
    x, y = rng.uniform(0, width * 0.8), rng.uniform(0, height)
    for _ in range(int(rng.integers(4, 14))):
        strokes = rng.uniform(0, 1, (3, 2)) * (size * 0.6, size) + (x, y)
        draw.line([(float(u), float(v)) for u, v in strokes], fill=colour, width=1 + int(size / 8))
        x += size * 0.8


def _finish(image: Image.Image, rng: np.random.Generator) -> Image.Image:
    """Camera: sometimes grey or out of focus, always noisy."""
    if rng.random() < 0.08:
        image = image.convert("L").convert("RGB")
    if rng.random() < 0.3:
        image = image.filter(ImageFilter.GaussianBlur(rng.uniform(0.3, 0.9)))
    pixels = np.asarray(image).astype(np.float32)
    pixels += rng.standard_normal(pixels.shape, dtype=np.float32) * rng.uniform(2, 12)
    pixels *= rng.uniform(0.7, 1.15)
    return Image.fromarray(pixels.clip(0, 255).astype(np.uint8))


def _colour(rng: np.random.Generator) -> tuple[int, int, int]:
    red, green, blue = rng.integers(10, 246, 3).tolist()
    return red, green, blue
