"""`scrfd-nas simulate`: replay a finished search under other strategies and schedulers."""

import csv
import io
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from nas.cli import common
from nas.cli.run_flags import Json, SearchDirectory

if TYPE_CHECKING:
    from nas.planning.recording import Recording
    from nas.planning.simulation import MethodSummary, Quartiles, RungRank, Simulation


def register(app: typer.Typer) -> None:
    """Add the command to `app`."""
    app.command()(simulate)


def simulate(
    search_dir: SearchDirectory = None,
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
    as_json: Json = False,
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
    from nas.planning.methods import Choices
    from nas.planning.simulation import Replays
    from nas.planning.simulation import simulate as simulate_methods

    choices = Choices(
        strategies=_names(strategy),
        schedulers=_names(scheduler),
        reduction_factor=reduction_factor,
        grace_epochs=grace_epochs,
    )
    with common.console.status("replaying") as status:
        found = simulate_methods(
            _recording(source, stage),
            [_recording(path, stage) for path in short or ()],
            choices,
            Replays(repeats=repeats, seed=seed, slots=slots, margin=margin),
            lambda method: status.update(f"replaying: {method.strategy}, {method.scheduler}"),
        )
    if out is not None:
        _write(found.summaries, out)
    if as_json:
        common.print_json({"source": str(source), **found.to_dict()})
    else:
        _print_methods(source, found)
        _print_ranks(found.ranks)


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


def _print_methods(source: Path, found: "Simulation") -> None:
    recording, replays = found.recording, found.replays
    spent = [f"{share * recording.total_epochs:.0f} epochs" for share in found.summaries[0].hard_at]
    columns = ["strategy", "scheduler", *spent, "at its end", "after epochs", "near the best"]
    what = f"{len(recording.numbers)} candidates x {recording.epochs} epochs"
    title = f"{source}: {what} = {recording.total_epochs}; hard AP found, median (quartiles)"
    rows = [_cells(summary) for summary in found.summaries]
    common.print_table(title, columns, rows, text_columns=("strategy", "scheduler"))
    common.print_rich(
        f"{replays.repeats} replays each; slots: {replays.slots}; -: no trial was finished\n"
        f"near the best: epochs until hard AP was within {replays.margin:g} of the best of all, "
        f"{recording.best:.4f} (candidate {recording.best_number}), and how often it was\n"
    )


def _cells(summary: "MethodSummary") -> list[str]:
    hard = [_spread(found, ".4f") for found in (*summary.hard_at.values(), summary.hard_at_end)]
    near = f"{_spread(summary.epochs_within_margin, 'g')} {100 * summary.reached_margin:.0f}%"
    end = _spread(summary.epochs_at_end, "g")
    return [summary.strategy, summary.scheduler, *hard, end, near]


def _spread(quartiles: "Quartiles", form: str) -> str:
    values = quartiles.to_dict().values()
    low, median, high = ("-" if value is None else f"{value:{form}}" for value in values)
    return median if low == median == high else f"{median} ({low} {high})"


def _print_ranks(ranks: "Sequence[RungRank]") -> None:
    columns = ("epoch", "schedule", "tau", "95 % interval")
    common.print_table("Rank correlation with the final ranks", columns, map(_rank, ranks))
    common.print_rich("tau: Kendall's tau-b of hard AP after that epoch with that after the last")


def _rank(rank: "RungRank") -> tuple[str, str, str, str]:
    found, epoch, schedule = rank.correlation, str(rank.epoch), f"{rank.schedule} epochs"
    if found.tau is None or found.low is None or found.high is None:
        return epoch, schedule, "-", "-"
    return epoch, schedule, f"{found.tau:.3f}", f"{found.low:.3f} to {found.high:.3f}"


def _write(summaries: "Sequence[MethodSummary]", path: Path) -> None:
    """Write a CSV file with a line for each method and measure."""
    from search_spaces.files import write_text

    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    quartiles = ("median", "lower", "upper")
    writer.writerow(("strategy", "scheduler", "repeats", "measure", *quartiles))
    for summary in summaries:
        measures = {f"hard_at_{share:g}": hard for share, hard in summary.hard_at.items()}
        names = ("hard_at_end", "epochs_at_end", "epochs_within_margin")
        measures |= {name: getattr(summary, name) for name in names}
        for name, found in measures.items():
            start = (summary.strategy, summary.scheduler, summary.repeats, name)
            values = found.to_dict()
            writer.writerow([*start, *(values[quartile] for quartile in quartiles)])
    write_text(path, text.getvalue())
