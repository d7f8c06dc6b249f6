"""`scrfd-nas evaluate`: the WIDER FACE AP of a trained model."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

from nas.cli import common, paths

_PLAIN_INTERVAL_S = 10.0


def register(app: typer.Typer) -> None:
    """Add the command to `app`."""
    app.command()(evaluate)


def evaluate(
    model: Annotated[
        Path,
        typer.Argument(
            help="A .pt or .onnx file, or a trial's folder (its best.pt) or URL.",
            parser=paths.trial,
            metavar="MODEL",
        ),
    ],
    data: Annotated[Path, typer.Option(help="Folder with val/ in labelv2 layout and val/gt/.")],
    split: Annotated[str, typer.Option(help="Folder below --data.")] = "val",
    mode: Annotated[
        str, typer.Option(help="vga, multi, original, or a size in pixels for the long side.")
    ] = "vga",
    image_size: Annotated[
        int | None, typer.Option(help="Long side in mode vga. (default: 640)", min=1)
    ] = None,
    save_predictions: Annotated[
        Path | None, typer.Option(help="New folder for WIDER FACE text files.")
    ] = None,
    batch_size: Annotated[
        int | None, typer.Option(min=1, help="Images at once. (default: 8 on a GPU, else 1)")
    ] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N; for .pt.")] = "auto",
    threads: Annotated[int | None, typer.Option(min=1, help="CPU threads.")] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one JSON document, AP as fractions.")
    ] = False,
) -> None:
    """Evaluate a model by the WIDER FACE protocol: easy, medium and hard AP.

    Modes: `vga` makes the long side 640 and pads to a square, `multi` goes up to 1650 x 1100,
    `original` keeps the size, and a number is like `vga` with that size.
    """
    from trials.evaluation.detector_ap import EvaluationRequest, evaluate_model
    from trials.evaluation.prediction_files import write_predictions

    request = EvaluationRequest(
        model=model,
        data=data,
        split=split,
        mode=mode,
        image_size=image_size,
        batch_size=batch_size,
        device=device,
        threads=threads,
    )
    if save_predictions is not None:
        _check_new(save_predictions)
    with _progress() as progress:
        found = evaluate_model(request, progress)
    if save_predictions is not None:
        write_predictions(save_predictions, found.predictions)
    for name, count in found.face_counts.items():
        if not count:
            typer.echo(f"note: no face counts as {name}: its AP is given as 0", err=True)
    aps, images = found.aps.as_dict(), len(found.predictions)
    if as_json:
        common.print_json(
            {
                "model": str(request.file),
                "data": str(data),
                "split": split,
                "mode": mode,
                "image_size": request.size.long_edge or None,
                "images": images,
                **aps,
                "seconds": found.seconds,
                "images_per_second": images / found.seconds,
            }
        )
        return
    counts = found.face_counts
    rows = [(name, f"{ap:.4f}", counts[name]) for name, ap in aps.items()]
    common.print_table("WIDER FACE AP", ("subset", "AP", "faces"), rows, text_columns=("subset",))
    speed = f"{images / found.seconds:.1f} images a second"
    common.print_rich(f"{request.file}, mode {mode}: {images} images, {speed}")


def _check_new(folder: Path) -> None:
    """Refuse a used folder before the work, not after it. Raises ConfigError."""
    from search_spaces.errors import ConfigError

    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise ConfigError(f"--save-predictions must be a new or empty folder, {folder} is used")


@contextmanager
def _progress() -> Iterator[Callable[[int, int], None]]:
    """A bar with the time left on a terminal's standard error, now and then a line elsewhere."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeRemainingColumn

    console = common.console
    if not console.is_terminal:
        yield _plain_progress(console.print)
        return
    columns = (BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress("images", *columns, console=console, transient=True) as bar:
        task = bar.add_task("", total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


def _plain_progress(
    say: Callable[[str], None], clock: Callable[[], float] = time.monotonic
) -> Callable[[int, int], None]:
    started = said = clock()

    def progress(done: int, total: int) -> None:
        nonlocal said
        now = clock()
        if now - said >= _PLAIN_INTERVAL_S and done < total:
            said = now
            left = (now - started) / done * (total - done)
            say(f"{done} of {total} images, {left:.0f} s left")

    return progress
