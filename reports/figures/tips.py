"""Texts at points of a figure: tips that appear under the pointer, and labels."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

_GROUP = "tips"


@dataclass(frozen=True)
class Tip:
    """Text that appears under the pointer, and the candidate it is about, such as `2-7`."""

    candidate: str
    text: str

    @property
    def opening(self) -> str:
        """Start of an SVG group with this tip."""
        return f'<g data-candidate="{escape(self.candidate)}"><title>{escape(self.text)}</title>'

    def around(self, element: str) -> str:
        """Return an SVG element with this tip."""
        return f"{self.opening}{element}</g>"


def add_tips(line: Line2D, tips: Sequence[Tip]) -> None:
    """Give each point of a line a text that appears under the pointer; a single one: the line."""
    line.set_gid(_GROUP)
    line.tips = tuple(tips)  # type: ignore[attr-defined]


def add_labels(axes: Axes, points: Iterable[tuple[float, float, str]]) -> None:
    """Write short texts beside points, the first ones first; those that would overlap are omitted.

    Call it when everything else is drawn, because the scales must be final.
    """
    figure = axes.figure
    figure.draw_without_rendering()  # type: ignore[union-attr]
    taken: list[Any] = []
    for x, y, text in points:
        beside: Any = {"textcoords": "offset points", "fontsize": 8, "zorder": 5}
        label = axes.annotate(text, (x, y), (5, 4), **beside)
        box = label.get_window_extent()
        if any(box.overlaps(other) for other in taken):
            label.remove()
        else:
            taken.append(box)


def give_ids(figure: Figure) -> dict[str, tuple[Tip, ...]]:
    """Number the lines with tips; return the tips by the id of their group in the SVG."""
    lines = figure.findobj(lambda artist: artist.get_gid() == _GROUP)
    found = {}
    for number, line in enumerate(lines):
        line.set_gid(f"{_GROUP}{number}")
        found[f"{_GROUP}{number}"] = line.tips  # type: ignore[attr-defined]
    return found


def with_tips(svg: str, tips: Mapping[str, Sequence[Tip]]) -> str:
    """Return the SVG with a title for every point that has a tip."""
    for name, texts in tips.items():
        opening = f'<g id="{name}">'
        begin = svg.find(opening)
        if begin < 0 or not texts:
            continue
        end = svg.index("</g>", begin)
        if len(texts) == 1:
            svg = svg[:begin] + texts[0].opening + svg[begin:end] + "</g>" + svg[end:]
            continue
        pieces = re.split(r"(<use [^>]*/>)", svg[begin:end])
        pieces[1::2] = map(Tip.around, texts, pieces[1::2])
        svg = svg[:begin] + "".join(pieces) + svg[end:]
    return svg
