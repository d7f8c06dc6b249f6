"""`scrfd-nas simulate`: replay a finished search under other strategies and schedulers."""

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from nas.cli.shared import common, run_flags
from nas.cli.shared.flags import group, with_flags
from nas.cli.shared.run_flags import RunFlags
from nas.planning.options import SimulationOptions
from search_spaces.errors import counted
from search_spaces.files import write_text
from trials.options import check_options, option

if TYPE_CHECKING:
    from nas.planning.recording import Recording
    from nas.planning.simulation import MethodSummary, Quartiles, Simulation


@dataclass(frozen=True, kw_only=True)
class SimulateOptions:
    """Options of `simulate`."""

    run: RunFlags = field(metadata=group(RunFlags, "search_dir", "as_json"))
    curves: Path | None = field(
        default=None, metadata=option("CSV file of --export, instead of a search.")
    )
    stage: int = field(default=1, metadata=option("Stage of the search: 1 or 2.", choices=(1, 2)))
    short: list[Path] | None = field(
        default=None,
        metadata=option(
            "Search, or file of --export, of the same candidates with fewer epochs, whose values "
            "stand at the complete rungs; may be given several times."
        ),
    )
    simulation: SimulationOptions = field(metadata=group(SimulationOptions))
    out: Path | None = field(default=None, metadata=option("CSV file to write the table to."))
    export: Path | None = field(
        default=None,
        metadata=option("CSV file to write the curves to, for --curves, without a replay."),
    )

    def __post_init__(self) -> None:
        check_options(self)


@with_flags
def simulate(options: SimulateOptions) -> None:
    """Replay a finished search under other schedulers.

    The learning curves are those of the search; strategies are compared too.

    Nothing is trained. For every choice: the hard AP found when an eighth, a quarter, half and
    all of the epochs are spent that training every candidate takes, as median (and quartiles)
    over replays in random order.
    """
    source = options.curves or run_flags.opened(options.run.search_dir).root
    if options.export is not None:
        _export(source, options.stage, options.export)
        return
    from nas.planning.simulation import simulate as simulate_methods

    recordings = [_recording(path, options.stage) for path in (source, *(options.short or ()))]
    with common.console().status("replaying") as status:
        found = simulate_methods(
            recordings[0],
            recordings[1:],
            options.simulation,
            lambda method: status.update(f"replaying: {method.strategy}, {method.scheduler}"),
        )
    if options.out is not None:
        _write(found.summaries, options.out)
    if options.run.as_json:
        common.print_json({"source": str(source), **found.to_dict()})
    else:
        _print_methods(source, found)


def _export(source: Path, stage: int, path: Path) -> None:
    from nas.planning.recording import load_curves
    from reports.curves import write_curves

    found = [curve for curve in load_curves(source, stage)[0] if curve.last]
    write_curves(found, path)
    common.print_note(f"{counted(len(found), 'curve')} written to {path}")


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


def _print_methods(source: Path, found: "Simulation") -> None:
    from nas.planning.methods import describe_rungs

    recording, options = found.recording, found.options
    spent = [f"{share * recording.total_epochs:.0f} epochs" for share in found.summaries[0].hard_at]
    columns = ["strategy", "scheduler", *spent, "at its end", "after epochs", "near the best"]
    what = f"{counted(len(recording.numbers), 'candidate')} x {counted(recording.epochs, 'epoch')}"
    title = f"{source}: {what} = {recording.total_epochs}; hard AP found, median (quartiles)"
    rows = [_cells(summary) for summary in found.summaries]
    common.print_table(title, columns, rows, text_columns=("strategy", "scheduler"))
    for line in describe_rungs(recording, options):
        common.print_rich(line)
    common.print_rich(
        f"{counted(options.repeats, 'replay')} each; slots: {options.slots}; "
        "-: no trial was finished\n"
        f"near the best: epochs until hard AP was within {options.margin:g} of the best of all, "
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


def _write(summaries: "Sequence[MethodSummary]", path: Path) -> None:
    """Write a CSV file with a line for each method and measure."""

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


COMMANDS = {"simulate": simulate}
