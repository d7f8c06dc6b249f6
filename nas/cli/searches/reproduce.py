"""`scrfd-nas reproduce`: training of a candidate again from the records of its folder."""

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from nas.cli.shared import common, paths, trial_output
from nas.cli.shared.flags import flag
from nas.cli.shared.run_flags import Json
from search_spaces.errors import ConfigError, TrialError
from trials.settings import TrialSettings

if TYPE_CHECKING:
    from nas.results.reproduce import Reproduction

_FOLDER = typer.Argument(
    help="Folder of a finished trial, such as runs/scrfdgen2.5g/stage1/0007, or its URL.",
    parser=paths.trial,
    metavar="FOLDER",
)
_ROWS = ("easy", "medium", "hard", "loss")


def reproduce(
    folder: Annotated[Path, _FOLDER],
    data: Annotated[
        Path | None, typer.Option(help="Folder of the images. (default: the search's)")
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(help="Folder of the new training. (default: FOLDER/reproduced)"),
    ] = None,
    device: Annotated[str, flag(TrialSettings, "device")] = "auto",
    threads: Annotated[
        int | None, typer.Option(min=1, help="CPU threads. (default: the search's)")
    ] = None,
    noise: Annotated[
        float, typer.Option(min=0, help="Largest difference of hard AP that chance explains.")
    ] = 0.03,
    as_json: Json = False,
) -> None:
    """Train a finished candidate again and compare.

    Run the command again to resume.

    The exit code is 1 if the results differ by more than --noise.
    """
    from nas.resolve_request import data_root
    from nas.results.reproduce import AGAIN, DIFFERENT, read_record
    from nas.results.reproduce import reproduce as run_again

    record = read_record(folder)
    settings = replace(record.settings, device=device, threads=threads or record.settings.threads)
    source = data or record.data
    if source is None:
        raise ConfigError(f"{folder}: does not record the folder of its data; --data is needed")
    with trial_output.stoppable_training() as callbacks:
        found = run_again(
            replace(record, settings=settings),
            Path(data_root(source, is_recorded=data is None)),
            out or folder / AGAIN,
            noise=noise,
            callbacks=callbacks,
        )
    if as_json:
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


COMMANDS = {"reproduce": reproduce}
