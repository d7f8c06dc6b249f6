"""`scrfd-nas score`: WIDER FACE AP of predictions in text files."""

from pathlib import Path
from typing import Annotated

import typer

from nas.cli.shared import common
from nas.cli.shared.run_flags import Json


def register(app: typer.Typer) -> None:
    """Add the command to the application."""
    app.command()(score)


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
        typer.echo(f"note: {note}", err=True)
    if as_json:
        common.print_json(result.aps.as_dict())
    else:
        common.print_aps(result.aps.as_dict(), result.face_counts)
