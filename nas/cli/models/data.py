"""`scrfd-nas data`: commands that draw, check and import data sets."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from nas.cli.models import imports
from nas.cli.shared import common
from nas.cli.shared.run_flags import Json
from search_spaces.errors import counted

if TYPE_CHECKING:
    from trials.data.check import CheckReport

MOST_SHOWN = 50


def generate(
    out: Annotated[Path, typer.Argument(help="New folder.")],
    num_train: Annotated[int, typer.Option(min=1, help="Training images.")] = 480,
    num_val: Annotated[int, typer.Option(min=1, help="Validation images.")] = 120,
    seed: Annotated[int, typer.Option(min=0, help="Same seed, same images.")] = 0,
    size: Annotated[
        tuple[int, int], typer.Option(help="Smallest and largest long side, in pixels.")
    ] = (240, 360),
    as_json: Json = False,
) -> None:
    """Draw a data set of generated faces.

    Faces of many sizes with key points, decoys, WIDER-style ground truth.
    """
    from trials.data.generated.generate import generate as draw

    with common.progress_bar("images") as progress:
        draw(
            out,
            num_train=num_train,
            num_val=num_val,
            seed=seed,
            long_side=size,
            progress=progress,
        )
    content = {"out": str(out), "train": num_train, "val": num_val, "seed": seed}
    text = f"{out}: {num_train:,} training and {counted(num_val, 'validation image')}"
    common.print_result(content, text, as_json=as_json)


def check(
    data: Annotated[Path, typer.Argument(help="Folder with train/ and val/.")],
    fast: Annotated[
        bool, typer.Option("--fast", help="Read image headers only, do not decode.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Count images and faces, and list every fault.

    The exit code is 1 if there is one.
    """
    with common.progress_bar("images") as progress:
        from trials.data.check import check as look  # slow to import: under the bar

        report = look(data, decode=not fast, progress=progress)
    if as_json:
        common.print_json(report.as_dict())
    else:
        _show(data, report)
    if report.faults:
        raise typer.Exit(1)


def _show(data: Path, report: "CheckReport") -> None:
    """Print counts, sizes and faults."""
    common.print_table(
        str(data),
        ("split", "images", "without faces", "faces", "with key points", "ignored"),
        [
            (name, s.images, s.without_faces, s.faces, s.with_keypoints, s.ignored)
            for name, s in report.splits.items()
        ],
        text_columns=("split",),
    )
    sizes = list(next(iter(report.splits.values())).heights)
    common.print_table(
        "faces by height in pixels",
        ("split", *sizes),
        [(name, *split.heights.values()) for name, split in report.splits.items()],
        text_columns=("split",),
    )
    if report.truth is not None:
        counts = ", ".join(f"{count} {subset}" for subset, count in report.truth.items())
        common.print_rich(f"validation faces that count: {counts}")
    if text := str(report.left_out):
        common.print_rich(text)
        _show_first([f"{name}: no face that counts" for name in report.left_out.faceless])
    _show_first([str(fault) for fault in report.faults])
    common.print_rich(counted(len(report.faults), "fault") if report.faults else "no faults")


def _show_first(lines: Sequence[str]) -> None:
    """Print the first 50 lines, and how many there are more."""
    for line in lines[:MOST_SHOWN]:
        common.print_rich(line)
    if len(lines) > MOST_SHOWN:
        common.print_rich(f"... and {len(lines) - MOST_SHOWN} more; --json lists them all")


_COMMANDS: dict[str, Callable[..., None]] = {
    "generate": generate,
    "check": check,
    **imports.COMMANDS,
}
_DATA = typer.Typer(help="Draw, check and import data sets.", no_args_is_help=True)
for _name, _command in _COMMANDS.items():
    _DATA.command(_name)(_command)
COMMANDS = {"data": _DATA}
