"""`scrfd-nas simulate`: other ways to search, replayed from the curves of a finished search."""

import csv
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from nas.cli import common
from nas.cli.stage_options import JSON_HELP, SEARCH_DIR

if TYPE_CHECKING:
    from nas.planning.recording import Recording
    from nas.planning.simulation import MethodSummary, RungRank

_QUARTERS = ("median", "lower", "upper")


def register(app: typer.Typer) -> None:
    """Add the command to `app`."""
    app.command()(simulate)


def simulate(
    search_dir: Annotated[Path | None, SEARCH_DIR] = None,
    curves: Annotated[
        Path | None, typer.Option(help="A CSV file of --export, instead of a search.")
    ] = None,
    stage: Annotated[int, typer.Option(help="1 or 2.", min=1, max=2)] = 1,
    strategy: Annotated[
        str, typer.Option(help="One, several with commas between them, or all.")
    ] = "all",
    scheduler: Annotated[str, typer.Option(help="fifo, asha, both with a comma, or all.")] = "all",
    short: Annotated[
        list[Path] | None,
        typer.Option(
            help="A search or file of the same candidates with fewer epochs, whose values stand "
            "at the rungs (complete rungs); may be given several times."
        ),
    ] = None,
    reduction_factor: Annotated[
        int, typer.Option(help="One in so many trials continues at a rung.", min=2)
    ] = 3,
    grace_epochs: Annotated[
        int | None,
        typer.Option(help="No trial ends before. (default: epochs / reduction factor^2)", min=1),
    ] = None,
    repeats: Annotated[int, typer.Option(help="Replays of each choice.", min=1)] = 200,
    seed: Annotated[int, typer.Option(help="Of the orders and strategies.", min=0)] = 0,
    slots: Annotated[int, typer.Option(help="Trials at the same time.", min=1)] = 1,
    margin: Annotated[
        float, typer.Option(help="How near to the best hard AP is near enough.", min=0, max=1)
    ] = 0.005,
    out: Annotated[Path | None, typer.Option(help="Write the table as CSV.")] = None,
    export: Annotated[
        Path | None, typer.Option(help="Write the curves as a CSV file for --curves, and stop.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help=JSON_HELP)] = False,
) -> None:
    """Replay a finished search's learning curves under other strategies and schedulers.

    Nothing is trained. For every choice: the hard AP found when an eighth, a quarter, half and
    all of the epochs are spent that training every candidate takes, as median (and quartiles)
    over replays in random order.
    """
    source = curves if curves is not None else _search(search_dir)
    if export is not None:
        _export(source, stage, export)
        return
    from nas.planning.methods import Rules, complete_rungs_method, methods
    from nas.planning.recording import splice
    from nas.planning.simulation import rung_ranks
    from nas.planning.simulation import simulate as simulate_methods

    rules = Rules(reduction_factor=reduction_factor, grace_epochs=grace_epochs, slots=slots)
    recording, shorter = _recording(source, stage), [_recording(p, stage) for p in short or ()]
    if shorter:
        recording, spliced = splice(recording, shorter)
    chosen = methods(recording, _names(strategy), _names(scheduler), rules)
    ranks = rung_ranks(recording, seed)
    if shorter:
        lengths = sorted(other.epochs for other in shorter)
        chosen.append(complete_rungs_method(spliced, lengths, rules))
        ranks += rung_ranks(spliced, seed, lengths)
    with common.console.status("replaying") as status:
        summaries = simulate_methods(
            chosen,
            repeats=repeats,
            seed=seed,
            margin=margin,
            progress=lambda done, wanted: status.update(f"replaying: {done}/{wanted}"),
        )
    if out is not None:
        _write(summaries, out)
    options = {"repeats": repeats, "seed": seed, "slots": slots, "margin": margin}
    if as_json:
        common.print_json(_document(source, recording, summaries, ranks, options))
    else:
        _print(source, recording, summaries, ranks, options)


def _search(given: Path | None) -> Path:
    from nas.search.directory import find_search_dir

    return find_search_dir(given).root


def _export(source: Path, stage: int, path: Path) -> None:
    from nas.planning.recording import load_curves
    from reports.curves import write_curves

    found = [curve for curve in load_curves(source, stage)[0] if curve.last]
    write_curves(found, path)
    common.print_note(f"{len(found)} curves written to {path}")


def _recording(source: Path, stage: int) -> "Recording":
    """Return what can be replayed; note which candidates cannot."""
    from nas.planning.recording import load_recording

    recording, left_out = load_recording(source, stage)
    if left_out:
        numbers = ", ".join(map(str, left_out))
        common.print_note(
            f"note: {source}: candidates without their last epoch left out: {numbers}"
        )
    return recording


def _names(text: str) -> list[str]:
    return [name.strip() for name in text.split(",")]


def _document(
    source: Path,
    recording: "Recording",
    summaries: "Sequence[MethodSummary]",
    ranks: "Sequence[RungRank]",
    options: Mapping[str, Any],
) -> dict[str, Any]:
    best = max(recording.numbers, key=recording.final)
    return {
        "source": str(source),
        "candidates": len(recording.numbers),
        "epochs_each": recording.epochs,
        "epochs_of_all": recording.total_epochs,
        "best": {"candidate": best, "hard": recording.best},
        **options,
        "choices": [summary.to_dict() for summary in summaries],
        "rank_correlation": [rank.to_dict() for rank in ranks],
    }


def _print(
    source: Path,
    recording: "Recording",
    summaries: "Sequence[MethodSummary]",
    ranks: "Sequence[RungRank]",
    options: Mapping[str, Any],
) -> None:
    shares = list(summaries[0].at)
    spent = [f"{share * recording.total_epochs:.0f} epochs" for share in shares]
    columns = ["strategy", "scheduler", *spent, "at its end", "after epochs", "near the best"]
    rows = [_cells(summary) for summary in summaries]
    best = max(recording.numbers, key=recording.final)
    what = f"{len(recording.numbers)} candidates x {recording.epochs} epochs"
    title = f"{source}: {what} = {recording.total_epochs}; hard AP found, median (quartiles)"
    text = ("strategy", "scheduler")
    common.print_table(title, columns, rows, text_columns=text)
    common.print_rich(
        f"{options['repeats']} replays each; slots: {options['slots']}; -: nothing was trained to "
        f"the end\nnear the best: epochs until hard AP was within {options['margin']:g} of the "
        f"best of all, {recording.best:.4f} (candidate {best}), and how often it was\n"
    )
    title, header = "Ranks against the final ones", ("epoch", "schedule", "tau", "95 % interval")
    common.print_table(title, header, [_rank(rank) for rank in ranks])
    common.print_rich("tau: Kendall's tau-b of hard AP after that epoch with that after the last")


def _cells(summary: "MethodSummary") -> list[str]:
    def hard(values: Sequence[float]) -> str:
        return _spread([f"{value:.4f}" if value >= 0 else "-" for value in values])

    def epochs(values: Sequence[float]) -> str:
        return _spread([f"{value:g}" if value < float("inf") else "-" for value in values])

    near = f"{epochs(summary.within)} {100 * summary.reached:.0f}%"
    found = [hard(values) for values in summary.at.values()]
    names = [summary.strategy, summary.scheduler]
    return [*names, *found, hard(summary.end), epochs(summary.spent), near]


def _spread(quartiles: Sequence[str]) -> str:
    low, median, high = quartiles
    return median if low == median == high else f"{median} ({low} {high})"


def _rank(rank: "RungRank") -> tuple[str, str, str, str]:
    found, epoch, schedule = rank.correlation, str(rank.epoch), f"{rank.schedule} epochs"
    if found.tau is None or found.low is None or found.high is None:
        return epoch, schedule, "-", "-"
    return epoch, schedule, f"{found.tau:.3f}", f"{found.low:.3f} to {found.high:.3f}"


def _write(summaries: "Sequence[MethodSummary]", path: Path) -> None:
    """One line a choice and measure."""
    from search_spaces.files import write_text

    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(("strategy", "scheduler", "repeats", "measure", *_QUARTERS))
    for summary in summaries:
        content = summary.to_dict()
        measures = {f"hard_at_{item['share']:g}": item for item in content["hard_at"]}
        names = ("hard_at_end", "epochs_at_end", "epochs_within_margin")
        measures |= {name: content[name] for name in names}
        for name, values in measures.items():
            start = (summary.strategy, summary.scheduler, summary.repeats, name)
            writer.writerow([*start, *(values[quarter] for quarter in _QUARTERS)])
    write_text(path, text.getvalue())
