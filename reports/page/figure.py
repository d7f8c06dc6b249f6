"""Charts as elements of a page, in the colours of the page."""

import re

from reports.figures.chart import COLOURS, Chart
from reports.page.html import Markup, prose, tag


def figure(chart: Chart) -> Markup:
    """Return the chart as an HTML figure with its title and caption."""
    plot = tag("div", _inline(chart.svg, chart.title), class_="plot", tabindex=0)
    return tag("figure", tag("h3", chart.title), plot, tag("figcaption", prose(chart.caption)))


def _inline(svg: str, title: str) -> Markup:
    """Return an SVG document as an element, with page colours and a label for screen readers."""
    content = svg[svg.index("<svg") :]
    content = content[content.index(">") + 1 :]
    box = re.search(r'viewBox="([\d. ]+)"', svg)
    for name, value in COLOURS.items():
        content = content.replace(value, f"var(--{name})")
    referenced = set(re.findall(r"#([\w.-]+)", content))
    content = re.sub(
        r' id="([^"]*)"', lambda m: m.group() if m[1] in referenced else "", content
    )  # all drawings use the same numbered ids
    view = box[1] if box else "0 0 600 300"
    opening = tag("svg", viewBox=view, role="img", aria_label=title).removesuffix("</svg>")
    return Markup(opening + content.strip())
