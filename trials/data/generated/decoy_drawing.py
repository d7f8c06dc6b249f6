"""Drawn things that a detector may take for heads, and must not."""

import math
from collections.abc import Callable

import numpy as np

from trials.data.generated.face_drawing import (
    CENTER,
    Head,
    Patch,
    Pen,
    any_colour,
    draw_features,
    draw_measures,
    feature_places,
    hair_behind,
    hair_in_front,
    lit,
    shaded,
    turned,
)


def draw_decoy(side: int, rng: np.random.Generator) -> Patch:
    """Something round that is no face: bare, scrambled, a clock, a ball, a hand or a blob."""
    head = draw_measures(rng)
    pen = Pen(side)
    DECOYS[rng.integers(len(DECOYS))](pen, head, rng)
    return turned(lit(pen.image, rng), head.rx, head.ry, head.tilt, np.zeros((5, 2)))


def _bare_head(pen: Pen, head: Head, rng: np.random.Generator) -> None:
    """The back of a head, or a face without features."""
    hair_behind(pen, head, rng)
    colour = head.hair if rng.random() < 0.5 else head.skin
    pen.oval(CENTER, CENTER, head.rx, head.ry, colour)
    hair_in_front(pen, head, rng)


def _scrambled(pen: Pen, head: Head, rng: np.random.Generator) -> None:
    """A face whose features stand in the wrong order."""
    pen.oval(CENTER, CENTER, head.rx, head.ry, head.skin)
    points = feature_places(head, rng)
    points[:, 1] = 2 * CENTER - points[:, 1]
    points[:, 0] += rng.uniform(-0.35, 0.35, 5) * head.rx
    points[:, 1] += rng.uniform(-0.25, 0.25, 5) * head.ry
    draw_features(pen, head, points, rng)


def _clock(pen: Pen, head: Head, rng: np.random.Generator) -> None:
    paper = shaded((236, 232, 220), rng.uniform(0.6, 1.0))
    pen.oval(CENTER, CENTER, head.ry, head.ry, paper)
    pen.ring(CENTER, CENTER, head.ry, (50, 44, 40), 0.03)
    for step in range(12):
        angle = step * math.pi / 6
        x, y = math.cos(angle) * head.ry, math.sin(angle) * head.ry
        inner, outer = (CENTER + x * 0.8, CENTER + y * 0.8), (CENTER + x * 0.92, CENTER + y * 0.92)
        pen.line([inner, outer], (40, 36, 34), 0.015)
    for length in (0.5, 0.75):
        angle = rng.uniform(0, 2 * math.pi)
        end = (CENTER + math.cos(angle) * head.ry * length,
               CENTER + math.sin(angle) * head.ry * length)  # fmt: skip
        pen.line([(CENTER, CENTER), end], (20, 20, 20), 0.02)


def _ball(pen: Pen, head: Head, rng: np.random.Generator) -> None:
    colour = head.skin if rng.random() < 0.5 else any_colour(rng)
    for step in range(6):
        shift = step * head.ry * 0.06
        radius = head.ry * (1 - step * 0.15)
        x, y = CENTER - shift, CENTER - shift
        pen.oval(x, y, radius, radius, shaded(colour, 0.7 + 0.1 * step))
    for _ in range(int(rng.integers(0, 4))):
        x, y = CENTER + rng.uniform(-0.6, 0.6, 2) * head.ry
        pen.oval(float(x), float(y), head.ry * 0.15, head.ry * 0.15, shaded(colour, 0.5))


def _hand(pen: Pen, head: Head, rng: np.random.Generator) -> None:
    pen.oval(CENTER, CENTER + head.ry * 0.3, head.rx * 0.75, head.ry * 0.6, head.skin)
    for finger in range(4):
        x = CENTER + head.rx * (-0.6 + 0.4 * finger)
        tip = (x + rng.uniform(-0.03, 0.03), CENTER - head.ry * rng.uniform(0.7, 1.0))
        pen.line([(x, CENTER + head.ry * 0.1), tip], shaded(head.skin, 0.95), head.rx * 0.3)


def _blob(pen: Pen, head: Head, rng: np.random.Generator) -> None:
    """An oval strewn with specks of its own colours."""
    pen.oval(CENTER, CENTER, head.rx, head.ry, head.skin)
    for _ in range(int(rng.integers(4, 14))):
        x, y = rng.uniform(-0.65, 0.65, 2)
        shade = shaded(head.skin, rng.uniform(0.3, 1.3))
        size = rng.uniform(0.04, 0.2, 2) * head.rx
        place = (CENTER + float(x) * head.rx, CENTER + float(y) * head.ry)
        pen.oval(*place, float(size[0]), float(size[1]), shade)


DECOYS: tuple[Callable[[Pen, Head, np.random.Generator], None], ...] = (
    _bare_head, _bare_head, _scrambled, _scrambled, _clock, _ball, _hand, _blob, _blob,
)  # fmt: skip
