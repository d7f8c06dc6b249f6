"""`scrfd-nas reproduce`: train a candidate again from what its folder records, and compare."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from nas.cli import common, paths, trial_output
from nas.cli.stage_options import JSON_HELP
from search_spaces.errors import ConfigError, TrialError

if TYPE_CHECKING:
    from nas.results.reproduce import Reproduction

_FOLDER = typer.Argument(
    help="Of a finished trial, such as runs/scrfdgen2.5g/stage1/0007, or its URL.",
    parser=paths.trial,
    metavar="FOLDER",
)
_ROWS = ("easy", "medium", "hard", "loss")


def register(app: typer.Typer) -> None:
    """Add the command to `app`."""
    app.command()(reproduce)


def reproduce(
    folder: Annotated[Path, _FOLDER],
    data: Annotated[
        Path | None, typer.Option(help="Folder of the images. (default: the search's)")
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(help="Folder of the new training. (default: FOLDER/reproduced)"),
    ] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N.")] = "auto",
    threads: Annotated[
        int | None, typer.Option(min=1, help="CPU threads. (default: the search's)")
    ] = None,
    noise: Annotated[
        float, typer.Option(min=0, help="Difference of hard AP that counts as chance.")
    ] = 0.03,
    json: Annotated[bool, typer.Option("--json", help=JSON_HELP)] = False,
) -> None:
    """Train a finished candidate again and compare; run it again to continue.

    Exit code 1 where the two differ by more than chance.
    """
    from nas.results.reproduce import AGAIN, DIFFERENT, read_record
    from nas.results.reproduce import reproduce as run_again
    from trials.trial import Callbacks

    record = read_record(folder)
    source = data or record.data
    if source is None:
        raise ConfigError(f"{folder}: does not record where its data lay; --data is needed")
    with trial_output.training_progress() as (on_epoch, on_step):
        found = run_again(
            record,
            source,
            out or folder / AGAIN,
            threads=threads,
            device=device,
            noise=noise,
            callbacks=Callbacks(on_epoch=on_epoch, on_step=on_step),
        )
    if json:
        common.print_json(found.to_dict())
    else:
        _print(found)
    if found.verdict == DIFFERENT:
        apart = abs(found.before.hard - found.after.hard)
        raise TrialError(f"the hard APs differ by {apart:.4f}, chance explains {noise:g}")


def _print(found: "Reproduction") -> None:
    rows = [
        [name, f"{getattr(found.before, name):.4f}", f"{getattr(found.after, name):.4f}"]
        for name in _ROWS
    ]
    common.print_table(str(found.folder), ("", "before", "again"), rows, text_columns=("",))
    lines = [f"in {found.again}"]
    lines.append(f"largest difference of an epoch's loss: {found.loss_difference:.2g}")
    lines.append(f"largest difference of an epoch's hard AP: {found.hard_difference:.2g}")
    lines += [f"{name}: {old} -> {new}" for name, (old, new) in found.versions.items()]
    lines += [f"request: {change}" for change in found.request_changes]
    common.print_rich("\n".join([*lines, f"verdict: {found.verdict}"]))
