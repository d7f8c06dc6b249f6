import re
import xml.etree.ElementTree as ET

import pandas as pd
from matplotlib.figure import Figure

from reports.figures.chart import draw
from reports.figures.tips import Tip, add_labels, add_tips


def tips(svg: str) -> list[tuple[str, str, int]]:
    """Return candidate, text and number of markers of every tip."""
    found = []
    for group in ET.fromstring(svg).iter("{http://www.w3.org/2000/svg}g"):
        if "data-candidate" in group.attrib:
            title = group.find("{http://www.w3.org/2000/svg}title")
            assert title is not None
            markers = list(group.iter("{http://www.w3.org/2000/svg}use"))
            found.append((group.attrib["data-candidate"], title.text or "", len(markers)))
    return found


def test_points_and_lines_have_titles() -> None:
    def paint(figure: Figure) -> None:
        axes = figure.subplots()
        (points,) = axes.plot([1, 2], [3, 4], "o")
        add_tips(points, [Tip("1-7", "one < two"), Tip("1-8", "two")])
        (line,) = axes.plot([1, 2, 3], [3, 4, 3], "-")
        add_tips(line, [Tip("2-9", "line")])
        (both,) = axes.plot([1, 2, 3], [4, 3, 4], "-s")
        add_tips(both, [Tip("2-3", "both")])

    chart = draw("name", "title", "caption", pd.DataFrame(), paint)
    points = [("1-7", "one < two", 1), ("1-8", "two", 1)]
    assert tips(chart.svg) == [*points, ("2-9", "line", 0), ("2-3", "both", 3)]
    assert chart.svg == draw("name", "title", "caption", pd.DataFrame(), paint).svg


def test_labels_that_would_overlap_are_omitted() -> None:
    def paint(figure: Figure) -> None:
        axes = figure.subplots()
        axes.plot([0, 1], [0, 1])
        add_labels(axes, [(0.5, 0.5, "first"), (0.501, 0.5, "second"), (0.9, 0.9, "third")])

    svg = draw("name", "title", "caption", pd.DataFrame(), paint).svg
    assert re.findall(r">(first|second|third)</text>", svg) == ["first", "third"]
