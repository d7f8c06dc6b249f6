"""Draw heads with faces, and decoys that look like heads.

Everything is drawn in units of a head: (0, 0) is its centre and 1 half of its height. The
caller passes the generator; nothing else is random.
"""

import math
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from trials.data.images import Image

Colour = npt.NDArray[np.float64]
Points = npt.NDArray[np.float64]

SKINS = np.array([(246, 214, 190), (214, 166, 130), (158, 110, 78), (66, 44, 34)], float)
HAIRS = np.array([(28, 22, 20), (98, 66, 40), (196, 168, 110), (150, 150, 150)], float)
DARK, WHITE = np.array([24.0] * 3), np.array([235.0] * 3)
LIPS = np.array([176.0, 78.0, 76.0])
CIRCLE = np.linspace(0, 2 * math.pi, 32, endpoint=False)


@dataclass(frozen=True, kw_only=True, eq=False)
class Pen:
    """Draws on a picture in units of one head.

    Attributes:
        picture: uint8 RGB, which is drawn on.
        center: of the head, x and y in pixels.
        unit: half of the head's height in pixels, before it is turned.
        tilt: turn of the head in the picture's plane, in radians.
    """

    picture: Image
    center: tuple[float, float]
    unit: float
    tilt: float

    def pixels(self, points_N2: npt.ArrayLike) -> Points:
        """Return points (N, 2) in pixels of the picture."""
        sine, cosine = math.sin(self.tilt), math.cos(self.tilt)
        turned = np.asarray(points_N2, float) @ np.array([[cosine, sine], [-sine, cosine]])
        return np.asarray(turned * self.unit + self.center)

    def shape(self, points_N2: npt.ArrayLike, colour: Colour) -> None:
        """Fill a polygon."""
        corners = self.pixels(points_N2).round().astype(np.int32)
        cv2.fillPoly(self.picture, [corners], colour.clip(0, 255).tolist())

    def oval(self, x: float, y: float, rx: float, ry: float, colour: Colour) -> None:
        """Fill an ellipse around (x, y)."""
        self.shape(np.stack([x + rx * np.cos(CIRCLE), y + ry * np.sin(CIRCLE)], axis=1), colour)

    def line(self, start: npt.ArrayLike, end: npt.ArrayLike, width: float, colour: Colour) -> None:
        """Draw a stroke."""
        start, end = np.asarray(start, float), np.asarray(end, float)
        along = end - start
        side = np.array([-along[1], along[0]]) * width / 2 / max(1e-9, math.hypot(*along))
        self.shape([start + side, end + side, end - side, start - side], colour)


@dataclass(frozen=True, kw_only=True, eq=False)
class Head:
    """Half width and colours of a head, and the direction of its gaze from -1 (left) to 1."""

    rx: float
    gaze: float
    skin: Colour
    hair: Colour


def draw_measures(rng: np.random.Generator) -> Head:
    """Draw a head's measures."""
    light = rng.uniform(0.5, 1.15)
    return Head(
        rx=rng.uniform(0.68, 0.86),
        gaze=float(np.clip(rng.normal(0, 0.35), -0.8, 0.8)),
        skin=SKINS[rng.integers(len(SKINS))] * light,
        hair=HAIRS[rng.integers(len(HAIRS))] * light,
    )


def draw_head(pen: Pen, head: Head, rng: np.random.Generator) -> Points:
    """Draw a head with a face, and return its five key points (5, 2) in pixels."""
    _hair_behind(pen, head, rng)
    pen.oval(0, 0, head.rx, 1, head.skin)
    points_52 = _feature_places(head, rng)
    if rng.random() < 0.25:  # a beard
        x, y = points_52[3:].mean(axis=0)
        pen.oval(x, y + 0.1, head.rx * 0.72, 0.36, head.hair)
        pen.oval(x, y - 0.24, head.rx * 0.6, 0.22, head.skin)
    _features(pen, head, points_52, rng)
    if rng.random() < 0.65:  # a fringe
        y, top = rng.uniform(-0.85, -0.62), rng.uniform(-0.4, 0.4, 2) * head.rx
        corners = [(-head.rx * 0.9, y), (top[0], -1.05), (head.rx * 0.9, y), (top[1], y + 0.1)]
        pen.shape(corners, head.hair)
    kind = rng.random()
    if kind < 0.15:
        _glasses(pen, head, points_52, rng)
    elif kind < 0.3:  # a hat
        colour = rng.uniform(20, 236, 3)
        pen.oval(0, -0.8, head.rx * 1.1, 0.5, colour)
        pen.line((-head.rx * 1.25, -0.55), (head.rx * 1.25, -0.55), 0.15, colour * 0.7)
    return pen.pixels(points_52)


def draw_decoy(pen: Pen, head: Head, rng: np.random.Generator) -> None:
    """Draw the back of a head, a scrambled face, a clock or a spotted oval."""
    kind = rng.integers(4)
    if kind == 0:
        _hair_behind(pen, head, rng)
        pen.oval(0, 0, head.rx, 1, head.hair if rng.random() < 0.5 else head.skin)
    elif kind == 1:
        pen.oval(0, 0, head.rx, 1, head.skin)
        places = _feature_places(head, rng) * (1, -1)
        _features(pen, head, places + rng.uniform(-0.25, 0.25, (5, 2)), rng)
    elif kind == 2:
        pen.oval(0, 0, 1, 1, DARK)
        pen.oval(0, 0, 0.93, 0.93, WHITE * rng.uniform(0.5, 1))
        for angle, length in [(hour * math.pi / 6, 0.12) for hour in range(12)]:
            way = np.array([math.cos(angle), math.sin(angle)])
            pen.line(way * 0.85, way * (0.85 - length), 0.06, DARK)
        for length, angle in zip((0.5, 0.75), rng.uniform(0, 2 * math.pi, 2), strict=True):
            pen.line((0, 0), (math.cos(angle) * length, math.sin(angle) * length), 0.08, DARK)
    else:
        pen.oval(0, 0, head.rx, 1, head.skin)
        for x, y, rx, ry, shade in rng.uniform(-1, 1, (rng.integers(4, 14), 5)):
            size = 0.12 + 0.08 * np.array([rx, ry])
            pen.oval(x * 0.6 * head.rx, y * 0.65, size[0], size[1], head.skin * (0.8 + shade / 2))


def _hair_behind(pen: Pen, head: Head, rng: np.random.Generator) -> None:
    """Draw the hair that the face is drawn upon; one head in eight is bald."""
    kind, grow, low = rng.uniform((0, 1.08, 0.7), (1, 1.22, 1.35))
    if kind > 0.12:
        pen.oval(0, -0.14, head.rx * grow, grow, head.hair)
    if kind > 0.6:  # long
        wide = head.rx * grow
        pen.shape([(-wide, 0), (wide, 0), (wide, low), (-wide, low)], head.hair)


def _feature_places(head: Head, rng: np.random.Generator) -> Points:
    """Draw the places of eyes, nose and mouth corners (5, 2)."""
    low, high = (0.40, -0.22, 0.14, 0.30, 0.46), (0.50, -0.10, 0.24, 0.46, 0.58)
    eyes, eye_y, nose_y, mouth, mouth_y = rng.uniform(low, high)
    narrow, shift = head.rx * math.cos(head.gaze * 1.1), head.gaze * head.rx * 0.45
    x = [-eyes * narrow, eyes * narrow, shift * 0.35, -mouth * narrow, mouth * narrow]
    return np.stack([np.array(x) + shift, [eye_y, eye_y, nose_y, mouth_y, mouth_y]], axis=1)


def _features(pen: Pen, head: Head, points_52: Points, rng: np.random.Generator) -> None:
    """Draw eyes with brows, nose and mouth at their places."""
    low, high = (0.15, 0.05, 0.14, 0.3, 0.6, 0.05), (0.21, 0.09, 0.2, 1.6, 1.1, 0.14)
    eye, lid, brow, iris, red, lip = rng.uniform(low, high)
    eye *= head.rx
    for x, y in points_52[:2]:
        pen.oval(x, y, eye * 1.2, lid * 1.5, head.skin * 0.78)
        pen.oval(x, y, eye, lid, WHITE)
        pen.oval(x, y, lid, lid, DARK * 2 * iris)
        pen.line((x - eye * 1.2, y - brow), (x + eye * 1.2, y - brow), 0.06, head.hair * 0.8)
    nose, mouth = points_52[2], points_52[3:]
    pen.line(points_52[:2].mean(axis=0), nose, 0.03, head.skin * 0.84)
    pen.oval(nose[0], nose[1], head.rx * 0.17, 0.07, head.skin * 0.76)
    (x, y), half = mouth.mean(axis=0), max(0.05, abs(mouth[1, 0] - mouth[0, 0]) / 2)
    pen.oval(x, y, half, lip, LIPS * red)
    if rng.random() < 0.4:  # teeth
        pen.line((x - half * 0.7, y), (x + half * 0.7, y), 0.04, WHITE)


def _glasses(pen: Pen, head: Head, points_52: Points, rng: np.random.Generator) -> None:
    """Draw dark glasses, or a frame."""
    is_dark = rng.random() < 0.5
    for x, y in points_52[:2]:
        pen.oval(x, y, head.rx * 0.3, head.rx * 0.24, DARK)
        if not is_dark:
            pen.oval(x, y, head.rx * 0.25, head.rx * 0.19, head.skin)
            pen.oval(x, y, 0.08, 0.06, DARK)
    pen.line(points_52[0], points_52[1], 0.04, DARK)
