"""`scrfd-nas data`: commands that draw, check and import data sets."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from nas.cli.models import imports
from nas.cli.shared import common
from nas.cli.shared.run_flags import Json

if TYPE_CHECKING:
    from trials.data.check import CheckReport
    from trials.data.formats.importers import ImportReport

MOST_FAULTS_SHOWN = 50

Annotations = Annotated[Path, typer.Option(help="The annotation file.")]
Images = Annotated[Path, typer.Option(help="Folder that its image paths are relative to.")]
Out = Annotated[Path, typer.Option(help="Split folder to fill: DATA/train or DATA/val.")]
Truth = Annotated[
    Path | None, typer.Option("--gt", help="Folder of the WIDER .mat files, copied to OUT/gt.")
]
Copy = Annotated[bool, typer.Option("--copy", help="Copy the images; otherwise they are linked.")]


def register(app: typer.Typer) -> None:
    """Add the command group to `app`."""
    group = typer.Typer(help="Draw, check and import data sets.", no_args_is_help=True)
    group.command("generate")(generate)
    group.command("check")(check)
    group.command("import-widerface")(import_widerface)
    group.command("import-retinaface")(import_retinaface)
    imports.register(group)
    app.add_typer(group, name="data")


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
    """Draw a data set: faces of many sizes with key points, decoys, WIDER-style ground truth."""
    from trials.data.generated.generate import generate as draw

    with _progress("drawing") as progress:
        draw(
            out,
            num_train=num_train,
            num_val=num_val,
            seed=seed,
            long_side=size,
            progress=progress,
        )
    if as_json:
        common.print_json({"out": str(out), "train": num_train, "val": num_val, "seed": seed})
    else:
        common.print_rich(f"{out}: {num_train} training and {num_val} validation images")


def check(
    data: Annotated[Path, typer.Argument(help="Folder with train/ and val/.")],
    fast: Annotated[
        bool, typer.Option("--fast", help="Read image headers only, do not decode.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Count images and faces, and list every fault; the exit code is 1 if there is one."""
    from trials.data.check import check as look

    with _progress("checking") as progress:
        report = look(data, decode=not fast, progress=progress)
    if as_json:
        common.print_json(report.as_dict())
    else:
        _show(data, report)
    if report.faults:
        raise typer.Exit(1)


def import_widerface(
    annotations: Annotations,
    images: Images,
    out: Out,
    gt: Truth = None,
    copy: Copy = False,
    as_json: Json = False,
) -> None:
    """Convert the official WIDER FACE text (wider_face_*_bbx_gt.txt) to labelv2."""
    from trials.data.formats.importers import import_labels

    report = import_labels("widerface", annotations, images, out, copy=copy, truth=gt)
    _show_import(out, report, as_json)


def import_retinaface(
    annotations: Annotations,
    images: Images,
    out: Out,
    gt: Truth = None,
    copy: Copy = False,
    as_json: Json = False,
) -> None:
    """Convert a RetinaFace label.txt, with key points, to labelv2."""
    from trials.data.formats.importers import import_labels

    report = import_labels("retinaface", annotations, images, out, copy=copy, truth=gt)
    _show_import(out, report, as_json)


def _show_import(out: Path, report: "ImportReport", as_json: bool) -> None:
    """Print what an import wrote."""
    if as_json:
        common.print_json({"out": str(out)} | asdict(report))
        return
    imports.show_import(out, report)


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
    for fault in report.faults[:MOST_FAULTS_SHOWN]:
        common.print_rich(str(fault))
    if len(report.faults) > MOST_FAULTS_SHOWN:
        more = len(report.faults) - MOST_FAULTS_SHOWN
        common.print_rich(f"... and {more} more; --json lists them all")
    common.print_rich(f"{len(report.faults)} faults" if report.faults else "no faults")


@contextmanager
def _progress(label: str) -> Iterator[Callable[[int, int], None]]:
    """Show a transient progress bar on a terminal's standard error."""
    from rich.progress import Progress

    quiet = not common.console.is_terminal
    with Progress(console=common.console, transient=True, disable=quiet) as bar:
        task = bar.add_task(label)
        yield lambda done, total: bar.update(task, completed=done, total=total)
