"""Draw pictures: a cluttered background, heads of many sizes, and decoys among them."""

import math

import cv2
import numpy as np
import numpy.typing as npt

from trials.data.generated.heads import Pen, Points, draw_decoy, draw_head, draw_measures
from trials.data.images import Image
from trials.data.labels import Faces

DETAIL = 3  # pictures are drawn so many times larger, and reduced
MIN_HEIGHT = 6.0  # pixels; a smaller head is a few grey dots
MAX_SHARE = 0.55  # of the picture's shorter side, for one head
MAX_OVERLAP = 0.15  # of the smaller head's box

Box = npt.NDArray[np.float64]


def draw_picture(
    width: int, height: int, *, crowd: bool, rng: np.random.Generator
) -> tuple[Image, Faces]:
    """Draw a picture and return it with its faces, in tenths of a pixel.

    A crowd has many small faces, another picture a few of any size.
    """
    canvas = _background(width * DETAIL, height * DETAIL, rng)
    heads = _head_heights(min(width, height), crowd, rng)
    decoys = _head_heights(min(width, height), crowd, rng)[: 1 + len(heads) // 2]
    boxes: list[Box] = []
    points: list[Points] = []
    taken: list[Box] = []
    for size, is_face in sorted([(h, True) for h in heads] + [(d, False) for d in decoys]):
        head, tilt = draw_measures(rng), float(np.clip(rng.normal(0, 0.18), -0.6, 0.6))
        box = _free_place(canvas, size * DETAIL, head.rx, tilt, taken, rng)
        if box is None:
            continue
        _body(canvas, box, taken, rng)
        taken.append(box)
        center = ((box[0] + box[2]) / 2, (box[1] + box[3]) / 2)
        unit = (box[3] - box[1]) / 2 / math.hypot(head.rx * math.sin(tilt), math.cos(tilt))
        pen = Pen(picture=canvas, center=center, unit=unit, tilt=tilt)
        if is_face:
            points.append(draw_head(pen, head, rng))
            boxes.append(box)
        else:
            draw_decoy(pen, head, rng)
    faces = Faces.of_boxes((np.reshape(boxes, (-1, 4)) / DETAIL).round(1))
    faces.keypoints_N53[..., :2] = (np.reshape(points, (-1, 5, 2)) / DETAIL).round(1)
    faces.keypoints_N53[..., 2] = 0
    return _photograph(canvas, rng), faces


def _head_heights(short_side: int, crowd: bool, rng: np.random.Generator) -> list[float]:
    """Draw heights of heads in pixels, uniform on a logarithmic scale."""
    low, high = (MIN_HEIGHT, short_side * 0.14) if crowd else (9.0, short_side * MAX_SHARE)
    high = max(low, high)  # of pictures whose heads can only be small
    count = rng.integers(6, 19) if crowd else rng.integers(1, 6)
    return [float(size) for size in np.exp(rng.uniform(math.log(low), math.log(high), count))]


def _free_place(
    canvas: Image, height: float, rx: float, tilt: float, taken: list[Box], rng: np.random.Generator
) -> Box | None:
    """Draw the box of a head that covers no other one; None if no such place is found."""
    sine, cosine = math.sin(tilt), math.cos(tilt)
    width = height * math.hypot(rx * cosine, sine) / math.hypot(rx * sine, cosine)
    for _ in range(20):
        x, y = rng.uniform((0, 0), (canvas.shape[1] - width, canvas.shape[0] - height))
        box = np.array([x, y, x + width, y + height])
        if all(_overlap(box, other) <= MAX_OVERLAP for other in taken):
            return box
    return None


def _overlap(one: Box, other: Box) -> float:
    """Return the shared area as a part of the smaller box."""
    sides = np.minimum(one[2:], other[2:]) - np.maximum(one[:2], other[:2])
    areas = [(box[2] - box[0]) * (box[3] - box[1]) for box in (one, other)]
    return float(sides.clip(0).prod() / min(areas))


def _body(canvas: Image, box: Box, taken: list[Box], rng: np.random.Generator) -> None:
    """Draw shoulders under two heads in three, unless they would hide another head."""
    wide, tall = box[2:] - box[:2]
    half, length, wanted = rng.uniform((0.8, 0.4, 0), (1.3, 1.2, 1)) * (wide, tall, 1)
    x, top = (box[0] + box[2]) / 2, box[3] - tall * 0.12
    area = np.array([x - half, top, x + half, box[3] + length])
    if wanted < 0.65 and all(_overlap(area, other) <= MAX_OVERLAP for other in taken):
        corners = [(x - wide / 4, top), (x + wide / 4, top), area[2:], (area[0], area[3])]
        cv2.fillPoly(canvas, [np.array(corners).astype(np.int32)], _colour(rng))


def _background(width: int, height: int, rng: np.random.Generator) -> Image:
    """Draw soft clouds of colour with shapes and strokes on them."""
    cells = rng.integers(2, 9)
    noise = rng.integers(0, 256, (cells, cells + 1, 3), dtype=np.uint8)
    clouds = cv2.resize(noise, (width, height), interpolation=cv2.INTER_CUBIC)
    plain, share = np.full_like(clouds, _colour(rng)), rng.uniform(0, 0.7)
    canvas = np.asarray(cv2.addWeighted(clouds, 1 - share, plain, share, 0), np.uint8)
    for _ in range(rng.integers(5, 40)):
        center = rng.uniform((0, 0), (width, height))
        sides = np.exp(rng.uniform(math.log(3 * DETAIL), math.log(width / 2), 2))
        corners = center + rng.uniform(-0.5, 0.5, (rng.integers(3, 6), 2)) * sides
        kind, points = rng.integers(4), corners.astype(np.int32)
        if kind == 0:
            cv2.rectangle(canvas, points[0].tolist(), points[1].tolist(), _colour(rng), cv2.FILLED)
        elif kind == 1:
            axes = (sides / 2).astype(int).tolist()
            cv2.ellipse(canvas, points[0].tolist(), axes, 0, 0, 360, _colour(rng), cv2.FILLED)
        elif kind == 2:
            cv2.polylines(canvas, [points], False, _colour(rng), int(1 + sides[0] / 30))
        else:
            cv2.fillPoly(canvas, [points], _colour(rng))
    return canvas


def _photograph(canvas: Image, rng: np.random.Generator) -> Image:
    """Reduce a canvas: sometimes grey or out of focus, always noisy."""
    small = cv2.resize(canvas, None, fx=1 / DETAIL, fy=1 / DETAIL, interpolation=cv2.INTER_AREA)
    if rng.random() < 0.08:
        small = cv2.cvtColor(cv2.cvtColor(small, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB)
    if rng.random() < 0.3:
        small = cv2.GaussianBlur(small, (3, 3), rng.uniform(0.3, 0.9))
    noise = rng.standard_normal(small.shape, dtype=np.float32) * rng.uniform(2, 12)
    return ((small + noise) * rng.uniform(0.7, 1.15)).clip(0, 255).astype(np.uint8)


def _colour(rng: np.random.Generator) -> list[int]:
    return [int(level) for level in rng.integers(10, 246, 3)]
