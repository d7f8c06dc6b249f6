"""The page that compares populations of candidates."""

from collections.abc import Sequence
from pathlib import Path

from reports.figures.chart import Chart
from reports.figures.search_plots import edf_chart
from reports.page.figure import figure
from reports.page.html import Child, Markup, cell, column, number, number_column, page, table, tag
from reports.statistics.comparison import Comparison, Difference, summary
from reports.statistics.population import Interval
from search_spaces.files import write_text

COMPARE_FILE = "compare.html"
_SUMMARY = ("population", "candidates", "best", "median", "worst")
_PAIRS = ("second - first", "median", "best of n", "n", "KS", "p")


def comparison_tables(comparison: Comparison) -> list[tuple[str, tuple[str, ...], list[list[str]]]]:
    """Return title, columns and cells of the two tables."""
    rows = [
        [p.name, str(len(p.hard)), *(f"{value:.4f}" for value in summary(p).values())]
        for p in comparison.populations
    ]
    pairs = [_pair_cells(difference) for difference in comparison.differences]
    return [
        ("Hard AP of the finished candidates", _SUMMARY, rows),
        ("Differences in hard AP (95 % bootstrap)", _PAIRS, pairs),
    ]


def write_comparison(comparison: Comparison, warned: Sequence[str], out: Path) -> Path:
    """Write the self-contained `compare.html`, its figure and numbers; return the page's path."""
    chart = comparison_chart(comparison)
    chart.save(out)
    write_text(out / COMPARE_FILE, _page(comparison, warned, chart))
    return out / COMPARE_FILE


def comparison_chart(comparison: Comparison) -> Chart:
    """Draw the error distributions of all populations."""
    return edf_chart({p.name: p.hard for p in comparison.populations}, name="compare")


def _pair_cells(difference: Difference) -> list[str]:
    d = difference
    cells = [f"{d.second} - {d.first}", _interval(d.median), _interval(d.best)]
    return [*cells, str(d.draws), f"{d.ks:.3f}", f"{d.p:.3g}"]


def _interval(found: Interval) -> str:
    return f"{found.median:+.4f} ({found.low:+.4f} to {found.high:+.4f})"


def _page(comparison: Comparison, warned: Sequence[str], chart: Chart) -> str:
    content: list[Child] = [tag("h1", "Comparison of searches")]
    content += [tag("p", f"Not comparable: {text}", class_="note") for text in warned]
    content.append(figure(chart))
    for title, columns, rows in comparison_tables(comparison):
        content += [tag("h3", title), _table(columns, rows)]
    content.append(tag("p", _HOW_TO_READ, class_="soft"))
    return page("scrfd-nas: comparison of searches", *content)


def _table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> Markup:
    headings = [column(columns[0]), *map(number_column, columns[1:])]
    return table(headings, [_cells(row) for row in rows], class_="sortable")


def _cells(row: Sequence[str]) -> list[Markup]:
    return [cell(row[0]), *(number(text) for text in row[1:])]


_HOW_TO_READ = (
    "Median: difference of the medians of 10,000 resamples of both populations. Best of n: "
    "difference of the best of n candidates drawn from each. If an interval includes 0, the "
    "searches may be equally good. KS: largest vertical distance of the two curves, and the "
    "p-value of such a distance for equal populations."
)
