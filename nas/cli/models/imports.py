"""`scrfd-nas data import-...` and `export-coco`: labels of other formats."""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from nas.cli.shared import common
from nas.cli.shared.flags import argument, group, with_flags
from nas.cli.shared.run_flags import Json, RunFlags
from search_spaces.errors import counted
from trials.options import option

if TYPE_CHECKING:
    from trials.data.formats.annotation import Annotation
    from trials.data.formats.importers import ImportReport


Annotations = Annotated[Path, typer.Option(help="The annotation file.")]
Images = Annotated[Path, typer.Option(help="Folder that its image paths are relative to.")]
Out = Annotated[Path, typer.Option(help="Split folder to fill: DATA/train or DATA/val.")]
Truth = Annotated[
    Path | None, typer.Option("--gt", help="Folder of the WIDER .mat files, copied to OUT/gt.")
]
Copy = Annotated[bool, typer.Option("--copy", help="Copy the images; otherwise they are linked.")]


@dataclass(frozen=True, kw_only=True)
class ImportOptions:
    """Options that all imports share.

    Attributes:
        wanted: name or number of the class of faces.
    """

    images: Path = field(metadata=option("Folder that the image paths are relative to."))
    out: Path = field(
        metadata=option("Split folder to fill (DATA/train), or DATA with --val-share.")
    )
    wanted: str | None = field(
        default=None,
        metadata=option(
            "Class of faces, by name or number.",
            flags=("--class",),
            default_text="the only one, or the one named face",
        ),
    )
    val_share: float | None = field(
        default=None,
        metadata=option(
            "Fill DATA/train and DATA/val, with this random share of the images for val.",
            minimum=0,
            default_text="one split",
        ),
    )
    seed: int = field(default=0, metadata=option("Same seed, same split.", minimum=0))
    copy: bool = field(
        default=False,
        metadata=option("Copy the images; otherwise they are linked.", flags=("--copy",)),
    )
    run: RunFlags = field(metadata=group(RunFlags, "as_json"))


@dataclass(frozen=True, kw_only=True)
class CocoOptions(ImportOptions):
    """Options of `data import-coco`."""

    annotations: Path = field(metadata=option("The COCO JSON file."))


@dataclass(frozen=True, kw_only=True)
class YoloOptions(ImportOptions):
    """Options of `data import-yolo`."""

    labels: Path | None = field(
        default=None,
        metadata=option(
            "Folder of the label files.", default_text="IMAGES with images replaced by labels"
        ),
    )


@dataclass(frozen=True, kw_only=True)
class VocOptions(ImportOptions):
    """Options of `data import-voc`."""

    annotations: Path = field(metadata=option("Folder of the XML files."))


@dataclass(frozen=True, kw_only=True)
class ExportOptions:
    """Options of `data export-coco`."""

    data: Path = field(metadata=argument("Folder with train/ and val/.", metavar="DATA"))
    out: Path = field(metadata=option("The JSON file to write."))
    split: str = field(
        default="train",
        metadata=option("The split to export.", choices=("train", "val"), default_text="train"),
    )
    run: RunFlags = field(metadata=group(RunFlags, "as_json"))


@with_flags
def import_coco(options: CocoOptions) -> None:
    """Convert COCO annotations to labelv2.

    Boxes, and five key points where there are five.
    """
    from trials.data.formats.coco import read_coco

    _write(read_coco(options.annotations, options.images, options.wanted), options)


@with_flags
def import_yolo(options: YoloOptions) -> None:
    """Convert YOLO label files to labelv2.

    Boxes, and five key points where there are five.
    """
    from trials.data.formats.yolo import read_yolo

    _write(read_yolo(options.images, options.labels, options.wanted), options)


@with_flags
def import_voc(options: VocOptions) -> None:
    """Convert Pascal VOC annotations to labelv2."""
    from trials.data.formats.voc import read_voc

    _write(read_voc(options.annotations, options.images, options.wanted), options)


@with_flags
def export_coco(options: ExportOptions) -> None:
    """Write a split as one COCO file.

    It has the category face with five key points.
    """
    from trials.data.formats.coco import write_coco
    from trials.data.labels import LABEL_FILE, read_labelv2

    folder = options.data / options.split
    images = read_labelv2(folder / LABEL_FILE, folder / "images")
    write_coco(options.out, images)
    counts = {"images": len(images), "faces": sum(len(image.faces) for image in images)}
    found = f"{counted(counts['images'], 'image')}, {counted(counts['faces'], 'face')}"
    text = f"{options.out}: {found}"
    common.print_result({"out": str(options.out)} | counts, text, as_json=options.run.as_json)


def _write(annotations: Sequence["Annotation"], options: ImportOptions) -> None:
    """Write one split, or both with --val-share, and print what they hold."""
    from trials.data.formats.importers import divide, write_split

    splits: dict[Path, Sequence[Annotation]] = {options.out: annotations}
    if options.val_share is not None:
        divided = divide(annotations, options.val_share, options.seed)
        splits = {options.out / split: part for split, part in divided.items()}
    reports = {
        out: write_split(part, options.images, out, copy=options.copy)
        for out, part in splits.items()
    }
    if options.run.as_json:
        common.print_json({str(out): asdict(report) for out, report in reports.items()})
        return
    for out, report in reports.items():
        _show_import(out, report)


def _show_import(out: Path, report: "ImportReport") -> None:
    """Print the counts of an import."""
    common.print_rich(
        f"{out}: {counted(report.images, 'image')}, {counted(report.faces, 'face')}, "
        f"{report.with_keypoints:,} with key points, {report.ignored:,} ignored; "
        f"dropped: {counted(report.dropped, 'box', 'boxes')} without area"
    )


def _import_command(labels: str, help: str) -> Callable[..., None]:
    """Return the command that imports labels of one format."""

    def command(
        annotations: Annotations,
        images: Images,
        out: Out,
        gt: Truth = None,
        copy: Copy = False,
        as_json: Json = False,
    ) -> None:
        from trials.data.formats.importers import import_labels

        found = import_labels(labels, annotations, images, out, copy=copy, truth=gt)
        if as_json:
            common.print_json({"out": str(out)} | asdict(found))
        else:
            _show_import(out, found)

    command.__doc__ = help
    return command


COMMANDS = {
    "import-widerface": _import_command(
        "widerface", "Convert the official WIDER FACE labels to labelv2."
    ),
    "import-retinaface": _import_command(
        "retinaface", "Convert a RetinaFace label.txt to labelv2."
    ),
    "import-coco": import_coco,
    "import-yolo": import_yolo,
    "import-voc": import_voc,
    "export-coco": export_coco,
}
