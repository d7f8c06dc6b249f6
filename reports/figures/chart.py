"""A chart: a drawing and its numbers, in one style, as SVG, PNG and CSV.

pyplot is not used. Files are equal, byte for byte, for equal numbers and an equal version of
matplotlib.
"""

import io
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib as mpl
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from reports.figures.tips import give_ids, with_tips
from search_spaces.files import replacing, write_text

# Distinguishable with colour blindness, and readable on white. In a page each becomes the CSS
# variable of its name, which has another value in dark mode (see report.css).
COLOURS = {
    "paper": "#ffffff",
    "ink": "#1b1f24",
    "soft": "#5b6470",
    "line": "#d5dae0",
    "blue": "#0072b2",
    "orange": "#d55e00",
    "green": "#00805c",
    "purple": "#b0588e",
    "grey": "#8a94a0",
    "band": "#cfe3f1",
}
SERIES = ("blue", "orange", "green", "purple", "grey")
MARKERS = ("o", "^", "s", "D", "v")
DPI = 160

_STYLE: dict[str, Any] = {
    "figure.facecolor": COLOURS["paper"],
    "axes.facecolor": "none",
    "axes.edgecolor": COLOURS["soft"],
    "axes.labelcolor": COLOURS["ink"],
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlesize": 10,
    "axes.titlelocation": "left",
    "axes.labelsize": 9.5,
    "font.family": ["DejaVu Sans"],  # included in matplotlib
    "font.size": 9.5,
    "grid.color": COLOURS["line"],
    "grid.linewidth": 0.6,
    "legend.frameon": False,
    "lines.linewidth": 1.6,
    "lines.markersize": 5,
    "savefig.facecolor": COLOURS["paper"],
    "svg.fonttype": "none",  # keeps text: small, searchable, in the font of the page
    "text.color": COLOURS["ink"],
    "text.parse_math": False,  # names may contain dollar signs
    "xtick.color": COLOURS["soft"],
    "ytick.color": COLOURS["soft"],
    "xtick.labelsize": 8.5,
    "ytick.labelsize": 8.5,
}
_METADATA = {"Date": None, "Creator": None, "Format": None, "Type": None}


@dataclass(frozen=True, kw_only=True)
class Chart:
    """A drawing and its numbers.

    Attributes:
        name: file name without suffix.
        title, caption: plain text; code between backticks.
        table: numbers of the drawing.
        svg, png: the drawing.
    """

    name: str
    title: str
    caption: str
    table: pd.DataFrame
    svg: str
    png: bytes

    def save(self, folder: Path) -> None:
        """Write `NAME.svg`, `NAME.png` and `NAME.csv` into `folder`."""
        write_text(folder / f"{self.name}.svg", self.svg)
        with replacing(folder / f"{self.name}.png") as temporary:
            temporary.write_bytes(self.png)
        save_table(self.table, folder / f"{self.name}.csv")


def draw(
    name: str,
    title: str,
    caption: str,
    table: pd.DataFrame,
    paint: Callable[[Figure], None],
    size: tuple[float, float] = (8.6, 3.4),
) -> Chart:
    """Return the chart that `paint` draws on an empty figure of `size` inches."""
    style: Any = {**_STYLE, "svg.hashsalt": name}
    with mpl.rc_context(style), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing")  # browsers have more fonts
        figure = Figure(figsize=size, layout="constrained")
        FigureCanvasAgg(figure)
        paint(figure)
        tips = give_ids(figure)
        svg, png = io.StringIO(), io.BytesIO()
        figure.savefig(svg, format="svg", metadata=_METADATA)
        figure.set_layout_engine("none")  # keep the layout of the SVG
        figure.savefig(png, format="png", dpi=DPI, metadata={"Software": None})
    return Chart(
        name=name,
        title=title,
        caption=caption,
        table=table,
        svg=with_tips(svg.getvalue(), tips),
        png=png.getvalue(),
    )


def save_table(table: pd.DataFrame, path: Path) -> None:
    """Write a table as CSV atomically; missing values are empty."""
    write_text(path, table.to_csv(index=False, lineterminator="\n"))


def colour(index: int) -> str:
    """Return the colour of a series; colours repeat."""
    return COLOURS[SERIES[index % len(SERIES)]]


def marker(index: int) -> str:
    """Return the marker of a series, which distinguishes it without colour."""
    return MARKERS[index % len(MARKERS)]


def shortened(text: str, most: int = 40) -> str:
    """Return at most `most` characters of a name, so that the legend does not hide the drawing."""
    return text if len(text) <= most else f"{text[: most - 1]}…"


def legend(figure: Figure, axes: Axes) -> None:
    """Add a legend of the labels above the axes, outside of the drawing."""
    handles, labels = axes.get_legend_handles_labels()
    if labels:
        columns = 4 if max(map(len, labels)) < 30 else 2
        figure.legend(handles, labels, loc="outside upper left", ncols=columns, fontsize=8.5)


def panels(
    figure: Figure, rows: int, columns: int, count: int, *, sharex: bool = False
) -> list[Axes]:
    """Return the first `count` panels of a grid with a common y axis; the others are hidden."""
    grid = figure.subplots(rows, columns, sharex=sharex, sharey=True, squeeze=False)
    found = [axes for row in grid for axes in row]
    for axes in found[count:]:
        axes.set_axis_off()
    return found[:count]
