"""`scrfd-nas score`: the WIDER FACE AP of predictions in text files."""

from pathlib import Path
from typing import Annotated

import typer

from nas.cli import common


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
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one JSON document, AP as fractions.")
    ] = False,
) -> None:
    """Score WIDER FACE predictions: easy, medium and hard AP.

    Images without a prediction file count as images in which no face was found.
    """
    from trials.evaluation.prediction_ap import score_folder

    result = score_folder(predictions, gt)
    for note in result.notes:
        typer.echo(f"note: {note}", err=True)
    aps = result.aps.as_dict()
    if as_json:
        common.print_json(aps)
        return
    rows = [(name, f"{ap:.4f}", result.face_counts[name]) for name, ap in aps.items()]
    common.print_table("WIDER FACE AP", ("subset", "AP", "faces"), rows, text_columns=("subset",))
