"""WIDER FACE AP: `evaluate` of a trained model, `score` of predictions in text files."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from nas.cli.shared import common, paths
from nas.cli.shared.flags import group, with_flags
from nas.cli.shared.run_flags import Json, RunFlags
from search_spaces.errors import ConfigError
from trials.options import option
from trials.settings import TrialSettings

if TYPE_CHECKING:
    from trials.evaluation.detector_ap import Evaluation, EvaluationRequest


@dataclass(frozen=True, kw_only=True)
class EvaluateOptions:
    """Options of `evaluate`."""

    model: Path = field(metadata=paths.MODEL)
    data: Path = field(
        metadata=option("Folder with val/ in labelv2 layout and val/gt/.", metavar="DIR")
    )
    split: str = field(default="val", metadata=option("Folder below --data."))
    mode: str = field(
        default="vga",
        metadata=option(
            "Size of the images: vga, multi, original, or the long side in pixels.",
            metavar="vga|multi|original|N",
        ),
    )
    image_size: int | None = field(
        default=None,
        metadata=option("Long side in mode vga.", default_text="640", minimum=1),
    )
    save_predictions: Path | None = field(
        default=None, metadata=option("New folder for WIDER FACE text files.")
    )
    batch_size: int | None = field(
        default=None,
        metadata=option("Images at once.", default_text="8 on a GPU, else 1 a core", minimum=1),
    )
    settings: TrialSettings = field(metadata=group(TrialSettings, "device", "threads"))
    run: RunFlags = field(metadata=group(RunFlags, "as_json"))


@with_flags
def evaluate(options: EvaluateOptions) -> None:
    """Evaluate a model by the WIDER FACE protocol.

    Modes: `vga` scales the long side to 640 and pads to a square, `multi` scales to at most
    1650 x 1100, `original` keeps the size, and a number is like `vga` with that size.
    """
    from trials.evaluation.detector_ap import EvaluationRequest, evaluate_model
    from trials.evaluation.prediction_files import write_predictions

    names = ("model", "data", "split", "mode", "image_size", "batch_size")
    request = EvaluationRequest(
        **{name: getattr(options, name) for name in names},
        device=options.settings.device,
        threads=options.settings.threads,
    )
    if options.save_predictions is not None:
        _check_new(options.save_predictions)
    with common.progress_bar("images") as progress:
        found = evaluate_model(request, progress)
    if options.save_predictions is not None:
        write_predictions(options.save_predictions, found.predictions)
    for name, count in found.face_counts.items():
        if not count:
            typer.echo(f"note: no face counts as {name}: its AP is given as 0", err=True)
    if options.run.as_json:
        common.print_json(_content(request, found))
    else:
        _print(request, found)


def _content(request: "EvaluationRequest", found: "Evaluation") -> dict[str, Any]:
    images = len(found.predictions)
    return {
        "model": str(request.file),
        "data": str(request.data),
        "split": request.split,
        "mode": request.mode,
        "image_size": request.size.long_edge or None,
        "images": images,
        **found.aps.as_dict(),
        "seconds": found.seconds,
        "images_per_second": images / found.seconds,
    }


def _print(request: "EvaluationRequest", found: "Evaluation") -> None:
    common.print_aps(found.aps.as_dict(), found.face_counts)
    images = len(found.predictions)
    speed = f"{images / found.seconds:.1f} images a second"
    common.print_rich(f"{request.file}, mode {request.mode}: {images} images, {speed}")


def _check_new(folder: Path) -> None:
    """Refuse a folder that is not empty. Raises ConfigError."""

    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise ConfigError(f"--save-predictions must be a new or empty folder, {folder} is used")


def score(
    predictions: Annotated[
        Path, typer.Argument(help="Folder of event folders with one .txt file an image.")
    ],
    gt: Annotated[
        Path, typer.Option("--gt", help="Folder with the WIDER FACE ground truth (.mat).")
    ],
    as_json: Json = False,
) -> None:
    """Score WIDER FACE predictions: easy, medium and hard AP.

    Images without a prediction file count as images without detected faces.
    """
    from trials.evaluation.prediction_ap import score_folder

    result = score_folder(predictions, gt)
    for note in result.notes:
        common.print_note(f"note: {note}")
    if as_json:
        common.print_json(result.aps.as_dict())
    else:
        common.print_aps(result.aps.as_dict(), result.face_counts)


COMMANDS = {"evaluate": evaluate, "score": score}
