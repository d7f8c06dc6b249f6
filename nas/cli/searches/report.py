"""Commands that summarize results: `report` of a search, `compare` of several."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from nas.cli.searches.status import note_damaged
from nas.cli.shared import common, leaderboards, paths, run_flags
from nas.cli.shared.run_flags import Json, SearchDirectory
from search_spaces.errors import ConfigError

if TYPE_CHECKING:
    from nas.search.directory import SearchDir

_DIRECTORIES = typer.Argument(
    help="Two or more search directories, or their URLs.",
    parser=paths.search,
    metavar="DIR DIR [DIR]...",
)
_STAGE = typer.Option(help="1, 2 or 3. (default: all)", min=1, max=3)
_LATENCY = typer.Option("--latency", help="Also measure the latency of the ten best networks.")
_OUT = typer.Option(help="Folder for compare.html and its figure. (default: none are written)")


def report(
    search_dir: SearchDirectory = None,
    stage: Annotated[int | None, _STAGE] = None,
    latency: Annotated[bool, _LATENCY] = False,
    as_json: Json = False,
) -> None:
    """Write report.html; print the leaderboards.

    The figures are also stored in report/ beside the page, as SVG, PNG and CSV.
    """
    from nas.stage import write_stage_leaderboard

    directory = run_flags.opened(search_dir)
    stages = [number for number in sorted(directory.requests()) if stage in (None, number)]
    if not stages:
        raise ConfigError(f"{directory}: stage {stage} has not begun")
    if latency:
        _measure(directory, stages)
    tables = {number: write_stage_leaderboard(directory, number) for number in stages}
    page, verdict = write_page(directory)
    note_damaged(directory)
    directory.publish()
    leaderboards.print_leaderboards(
        directory, tables, as_json=as_json, report=page, verdict=verdict
    )


def write_page(directory: "SearchDir") -> tuple[Path, dict[str, Any]]:
    """Write the report of a search; return its path and what it concludes (`conclusion`)."""
    from nas.results.report_data import read_search
    from reports.page.search_report import write_report
    from reports.page.summary import conclusion

    search = read_search(directory)
    return write_report(search, directory.root), conclusion(search)


def compare(
    directories: Annotated[list[Path], _DIRECTORIES],
    stage: Annotated[int | None, _STAGE] = None,
    out: Annotated[Path | None, _OUT] = None,
    as_json: Json = False,
) -> None:
    """Compare searches: what differs and which is better."""
    from nas.results.comparing import read_populations
    from reports.page.comparison import CAVEAT, comparison_tables, write_comparison
    from reports.statistics.comparison import compare_populations

    found = read_populations(directories, stage)
    comparison = compare_populations(found.populations)
    lines = [*found.warnings, *found.notes]
    page = write_comparison(comparison, lines, out) if out is not None else None
    sentences = list(map(str, comparison.differences))
    if as_json:
        content = {"warnings": list(found.warnings), "notes": list(found.notes)}
        content |= {"sentences": sentences, **comparison.to_dict()}
        common.print_json({**content, "report": None if page is None else str(page)})
        return
    for warning in found.warnings:
        common.print_note(f"warning: {warning}")
    for line in (*found.notes, *sentences, CAVEAT):
        common.print_words(line)
    for title, columns, rows in comparison_tables(comparison):
        common.print_table(title, columns, rows, text_columns=columns[:1])
    if page is not None:
        common.print_rich(f"in {page}")


def _measure(directory: "SearchDir", stages: list[int]) -> None:
    """Measure the latency of the best candidates where this machine has not yet."""
    from nas.results.latency_cache import measure_best
    from trials.evaluation.latency import candidate_latency

    for stage in stages:
        measure_best(directory, stage, candidate_latency, common.print_note)


COMMANDS = {"report": report, "compare": compare}
