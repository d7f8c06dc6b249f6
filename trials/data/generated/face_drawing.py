"""Drawn heads with faces.

Everything is drawn on a square patch in units of its side, (0, 0) upper left, then turned
and reduced with the picture. The caller passes the generator; nothing else is random.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw

Colour = tuple[int, int, int]
Point = tuple[float, float]

SKINS: tuple[Colour, ...] = (
    (246, 214, 190), (232, 190, 160), (214, 166, 130), (190, 140, 104),
    (158, 110, 78), (120, 80, 56), (88, 58, 42), (66, 44, 34),
)  # fmt: skip
HAIRS: tuple[Colour, ...] = (
    (28, 22, 20), (60, 42, 30), (98, 66, 40), (150, 110, 60), (196, 168, 110), (150, 150, 150),
    (120, 40, 24), (220, 216, 208),
)  # fmt: skip
CENTER = 0.5


@dataclass(frozen=True, kw_only=True, eq=False)
class Patch:
    """A drawn thing.

    Attributes:
        image: RGBA, square.
        box: x1, y1, x2, y2 of the head (or what looks like one), in units of the side.
        keypoints_52: eyes, nose, mouth corners in units of the side.
    """

    image: Image.Image
    box: tuple[float, float, float, float]
    keypoints_52: npt.NDArray[np.float64]


class Pen:
    """Draws in units of the patch's side."""

    def __init__(self, side: int) -> None:
        self.side = side
        self.image = Image.new("RGBA", (side, side), (0, 0, 0, 0))
        self._draw = ImageDraw.Draw(self.image)

    def oval(self, x: float, y: float, rx: float, ry: float, fill: Colour) -> None:
        """An ellipse around (x, y)."""
        rx, ry = max(0.0, rx), max(0.0, ry)
        self._draw.ellipse(self._scaled((x - rx, y - ry), (x + rx, y + ry)), fill=(*fill, 255))

    def ring(self, x: float, y: float, r: float, line: Colour, width: float) -> None:
        """The outline of a circle."""
        corners = self._scaled((x - r, y - r), (x + r, y + r))
        self._draw.ellipse(corners, outline=(*line, 255), width=self._width(width))

    def shape(self, points: Sequence[Point], fill: Colour) -> None:
        """A filled polygon."""
        self._draw.polygon(self._scaled(*points), fill=(*fill, 255))

    def line(self, points: Sequence[Point], fill: Colour, width: float) -> None:
        """A stroke through points."""
        self._draw.line(self._scaled(*points), fill=(*fill, 255), width=self._width(width))

    def arc(self, x: float, y: float, rx: float, ry: float, line: Colour, width: float) -> None:
        """The lower half of an ellipse's outline, thin at its ends."""
        steps = np.linspace(0.1, 0.9, 7) * math.pi
        self.line([(x + rx * math.cos(t), y + ry * math.sin(t)) for t in steps], line, width)

    def _scaled(self, *points: Point) -> list[Point]:
        return [(x * self.side, y * self.side) for x, y in points]

    def _width(self, width: float) -> int:
        return max(1, round(width * self.side))


@dataclass(frozen=True, kw_only=True)
class Head:
    """The measures of one head, in units of the patch's side, before it is turned."""

    rx: float
    ry: float
    turn: float  # of the gaze, -1 (left) to 1
    tilt: float  # radians, in the picture's plane
    skin: Colour
    hair: Colour


def draw_head(side: int, rng: np.random.Generator) -> Patch:
    """A head with hair, eyes, brows, nose and mouth; sometimes glasses, a beard, a mask, a hat."""
    head = draw_measures(rng)
    pen = Pen(side)
    hair_behind(pen, head, rng)
    pen.oval(CENTER, CENTER, head.rx, head.ry, head.skin)
    points = feature_places(head, rng)
    if rng.random() < 0.25:
        _beard(pen, head, points, rng)
    draw_features(pen, head, points, rng)
    hair_in_front(pen, head, rng)
    _extras(pen, head, points, rng)
    return turned(lit(pen.image, rng), head.rx, head.ry, head.tilt, points)


def draw_measures(rng: np.random.Generator) -> Head:
    """Measures and colours of a head."""
    ry = rng.uniform(0.30, 0.34)
    return Head(
        rx=ry * rng.uniform(0.68, 0.86),
        ry=ry,
        turn=float(np.clip(rng.normal(0, 0.35), -0.8, 0.8)),
        tilt=float(np.clip(rng.normal(0, 0.18), -0.6, 0.6)),
        skin=shaded(SKINS[rng.integers(len(SKINS))], rng.uniform(0.85, 1.1)),
        hair=shaded(HAIRS[rng.integers(len(HAIRS))], rng.uniform(0.7, 1.2)),
    )


def feature_places(head: Head, rng: np.random.Generator) -> npt.NDArray[np.float64]:
    """Eyes, nose and mouth corners of an upright head (5, 2)."""
    shift = head.turn * head.rx * 0.45
    narrow = math.cos(head.turn * 1.1)
    eyes = head.rx * rng.uniform(0.40, 0.50) * narrow
    mouth = head.rx * rng.uniform(0.30, 0.46) * narrow
    eye_y = CENTER - head.ry * rng.uniform(0.10, 0.22)
    nose_y = CENTER + head.ry * rng.uniform(0.14, 0.24)
    mouth_y = CENTER + head.ry * rng.uniform(0.46, 0.58)
    x = CENTER + shift
    return np.array(
        [
            (x - eyes, eye_y),
            (x + eyes, eye_y),
            (x + shift * 0.35, nose_y),
            (x - mouth, mouth_y),
            (x + mouth, mouth_y),
        ]
    )


def hair_behind(pen: Pen, head: Head, rng: np.random.Generator) -> None:
    """Hair that the face is drawn upon; one head in eight is bald."""
    kind = rng.random()
    if kind < 0.12:  # bald
        return
    grow = rng.uniform(1.08, 1.22)
    pen.oval(CENTER, CENTER - head.ry * 0.14, head.rx * grow, head.ry * grow, head.hair)
    if kind > 0.6:  # long
        low, wide = CENTER + head.ry * rng.uniform(0.7, 1.35), head.rx * grow
        corners = [(CENTER - wide, CENTER), (CENTER + wide, CENTER)]
        pen.shape([*corners, (CENTER + wide, low), (CENTER - wide, low)], head.hair)


def hair_in_front(pen: Pen, head: Head, rng: np.random.Generator) -> None:
    """A fringe, more often than not."""
    if rng.random() < 0.35:
        return
    y = CENTER - head.ry * rng.uniform(0.62, 0.85)
    left, right = (CENTER - head.rx * 0.9, y), (CENTER + head.rx * 0.9, y)
    crown = (CENTER + head.rx * rng.uniform(-0.4, 0.4), CENTER - head.ry * 1.05)
    parting = (CENTER + head.rx * rng.uniform(-0.5, 0.5), y + head.ry * rng.uniform(-0.1, 0.2))
    pen.shape([left, crown, right, parting], head.hair)


def draw_features(
    pen: Pen, head: Head, points: npt.NDArray[np.float64], rng: np.random.Generator
) -> None:
    """Eyes with brows, nose and mouth at the given places."""
    left, right, nose, mouth_left, mouth_right = [(float(x), float(y)) for x, y in points]
    eye, lid = head.rx * rng.uniform(0.15, 0.21), head.ry * rng.uniform(0.05, 0.09)
    pupil = shaded((60, 44, 34), rng.uniform(0.3, 1.6))
    brow_y = head.ry * rng.uniform(0.14, 0.2)
    for x, y in (left, right):
        pen.oval(x, y, eye * 1.2, lid * 1.5, shaded(head.skin, 0.78))
        pen.oval(x, y, eye, lid, (236, 234, 228))
        pen.oval(x, y, lid, lid, pupil)
        brow = [(x - eye * 1.2, y - brow_y * 0.9), (x + eye * 1.2, y - brow_y)]
        pen.line(brow, shaded(head.hair, 0.8), head.ry * 0.06)
    pen.line([(float(points[:2, 0].mean()), left[1]), nose], shaded(head.skin, 0.84), 0.012)
    pen.oval(nose[0], nose[1], head.rx * 0.17, head.ry * 0.07, shaded(head.skin, 0.76))
    lips = shaded((176, 78, 76), rng.uniform(0.6, 1.1))
    x, y = (mouth_left[0] + mouth_right[0]) / 2, mouth_left[1]
    half = max(0.02, (mouth_right[0] - mouth_left[0]) / 2)
    if rng.random() < 0.4:
        pen.oval(x, y, half, head.ry * rng.uniform(0.05, 0.13), lips)
        pen.line([(x - half * 0.7, y), (x + half * 0.7, y)], (230, 226, 220), 0.012)
    else:
        pen.arc(x, y - head.ry * 0.05, half, head.ry * rng.uniform(0.06, 0.16), lips, 0.03)


def _beard(pen: Pen, head: Head, points: npt.NDArray[np.float64], rng: np.random.Generator) -> None:
    x, y = float(points[3:, 0].mean()), float(points[3, 1])
    pen.oval(x, y + head.ry * 0.1, head.rx * 0.72, head.ry * 0.36, head.hair)
    pen.oval(x, y - head.ry * 0.24, head.rx * 0.6, head.ry * 0.22, head.skin)


def _extras(
    pen: Pen, head: Head, points: npt.NDArray[np.float64], rng: np.random.Generator
) -> None:
    """Glasses, a mask or a hat, each now and then."""
    kind = rng.random()
    dark: Colour = (24, 24, 28)
    (left, eye_y), (right, _) = points[0], points[1]
    if kind < 0.14:
        radius = head.rx * 0.3
        for x in (left, right):
            if kind < 0.06:
                pen.oval(x, eye_y, radius, radius * 0.8, dark)
            else:
                pen.ring(x, eye_y, radius, dark, 0.016)
        pen.line([(left, eye_y), (right, eye_y)], dark, 0.014)
    elif kind < 0.22:
        top, x = float(points[2, 1]) - head.ry * 0.1, float(points[2, 0])
        wide, low = head.rx * 0.85, CENTER + head.ry * 0.9
        shape = [(x - wide, top), (x + wide, top), (x + wide * 0.5, low), (x - wide * 0.5, low)]
        pen.shape(shape, shaded((150, 200, 220), rng.uniform(0.6, 1.15)))
    elif kind < 0.34:
        colour = any_colour(rng)
        y = CENTER - head.ry * 0.6
        pen.oval(CENTER, y - head.ry * 0.2, head.rx * 1.1, head.ry * 0.5, colour)
        brim = [(CENTER - head.rx * 1.25, y + 0.03), (CENTER + head.rx * 1.25, y + 0.03)]
        pen.line(brim, shaded(colour, 0.7), 0.05)


def lit(image: Image.Image, rng: np.random.Generator) -> Image.Image:
    """The patch under light from one side, darker or brighter as a whole."""
    pixels = np.asarray(image).astype(np.float32)
    side = len(pixels)
    slope = np.linspace(-1, 1, side, dtype=np.float32)
    across, down = rng.uniform(-0.35, 0.35, 2).astype(np.float32)
    light = rng.uniform(0.55, 1.15) + across * slope[None, :] + down * 0.5 * slope[:, None]
    pixels[..., :3] *= light[..., None]
    return Image.fromarray(pixels.clip(0, 255).astype(np.uint8))


def turned(
    image: Image.Image, rx: float, ry: float, tilt: float, points: npt.NDArray[np.float64]
) -> Patch:
    """The patch turned by `tilt` about its centre, with the box of the turned oval."""
    sine, cosine = math.sin(tilt), math.cos(tilt)
    half_width = math.hypot(rx * cosine, ry * sine)
    half_height = math.hypot(rx * sine, ry * cosine)
    dx, dy = points[:, 0] - CENTER, points[:, 1] - CENTER
    turned = np.stack([dx * cosine - dy * sine, dx * sine + dy * cosine], axis=1) + CENTER
    box = (CENTER - half_width, CENTER - half_height, CENTER + half_width, CENTER + half_height)
    degrees = -math.degrees(tilt)  # Pillow turns the other way round
    picture = image.rotate(degrees, Image.Resampling.BILINEAR)
    return Patch(image=picture, box=box, keypoints_52=turned)


def shaded(colour: Colour, factor: float) -> Colour:
    """The colour made darker or brighter."""
    red, green, blue = (min(255, max(0, round(value * factor))) for value in colour)
    return red, green, blue


def any_colour(rng: np.random.Generator) -> Colour:
    """A colour, neither black nor white."""
    red, green, blue = rng.integers(20, 236, 3).tolist()
    return red, green, blue
