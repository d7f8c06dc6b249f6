"""The page that compares populations of candidates."""

from collections.abc import Sequence
from pathlib import Path

from reports.figures.chart import Chart
from reports.figures.search_plots import edf_chart
from reports.page.figure import figure
from reports.page.html import (
    Child,
    Markup,
    cell,
    column,
    number,
    number_column,
    page,
    prose,
    table,
    tag,
)
from reports.statistics.comparison import Comparison, Difference, summary
from reports.statistics.population import FEW, Interval
from search_spaces.files import write_text

COMPARE_FILE = "compare.html"
_SUMMARY = ("population", "candidates", "best", "median", "worst")
_PAIRS = ("second - first", "best", "best of n", "n", "median", "KS", "p")
CAVEAT = (
    "APs are of one seed each, and the best of a search is biased upwards: confirm the winners "
    "(`scrfd-nas confirm`) before choosing between them."
)


def comparison_tables(comparison: Comparison) -> list[tuple[str, tuple[str, ...], list[list[str]]]]:
    """Return title, columns and cells of the two tables."""
    rows = [
        [p.name, str(len(p.hard)), *(f"{value:.4f}" for value in summary(p).values())]
        for p in comparison.populations
    ]
    pairs = [_pair_cells(difference) for difference in comparison.differences]
    return [
        ("Hard AP of the finished candidates", _SUMMARY, rows),
        ("Differences in hard AP (95 % bootstrap, jointly)", _PAIRS, pairs),
    ]


def write_comparison(comparison: Comparison, notes: Sequence[str], out: Path) -> Path:
    """Write the self-contained `compare.html`, its figure and numbers; return the page's path."""
    chart = comparison_chart(comparison)
    chart.save(out)
    write_text(out / COMPARE_FILE, _page(comparison, notes, chart))
    return out / COMPARE_FILE


def comparison_chart(comparison: Comparison) -> Chart:
    """Draw the error distributions of all populations."""
    return edf_chart({p.name: p.hard for p in comparison.populations}, name="compare")


def _pair_cells(d: Difference) -> list[str]:
    cells = [f"{d.second} - {d.first}", f"{d.gap:+.4f}", _interval(d.best)]
    cells += ["" if d.draws is None else str(d.draws), _interval(d.median)]
    return [*cells, "" if d.ks is None else f"{d.ks:.3f}", "" if d.p is None else f"{d.p:.3g}"]


def _interval(found: Interval | None) -> str:
    return "" if found is None else str(found)


def _page(comparison: Comparison, notes: Sequence[str], chart: Chart) -> str:
    names = " and ".join(population.name for population in comparison.populations)
    content: list[Child] = [tag("h1", f"Comparison of {names}")]
    content += [tag("p", str(difference), class_="lead") for difference in comparison.differences]
    content += [tag("p", prose(text), class_="note") for text in (*notes, CAVEAT)]
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
    "Best of n: difference of the best of n candidates drawn from each, in 10,000 draws. Median: "
    "difference of the medians of as many resamples. If an interval includes 0, the searches may "
    "be equally good; the intervals hold jointly for all pairs. KS: largest vertical distance of "
    "the two curves, and the p-value of such a distance for equal populations, corrected for the "
    f"number of pairs (Holm). Populations of fewer than {FEW} candidates have no intervals."
)
