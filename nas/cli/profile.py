"""`scrfd-nas profile`: where the time of a training step goes."""

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from nas.cli import common, paths
from nas.cli.stage_options import (
    AUGMENT_ON_HELP,
    CACHE_GB_DEFAULT,
    CACHE_GB_HELP,
    CACHE_HELP,
)

if TYPE_CHECKING:
    from trials.training.profiling import StepProfile

_LABELS = {
    "input": "input (read, crop, resize, distort)",
    "forward": "forward",
    "assignment_and_loss": "assignment and loss",
    "backward": "backward",
    "optimizer": "optimiser",
}


def register(app: typer.Typer) -> None:
    """Add the command to `app`."""
    app.command()(profile)


def profile(
    architecture: Annotated[str, paths.ARCHITECTURE],
    data: Annotated[Path, typer.Option(help="Folder with train/ and val/ in labelv2 layout.")],
    recipe: Annotated[str, typer.Option(help="reference, quick, or a YAML file.")] = "reference",
    image_size: Annotated[int, typer.Option(help="Training crops' side, in pixels.")] = 640,
    batch_size: Annotated[int | None, typer.Option(min=1, help="Default: the recipe's.")] = None,
    steps: Annotated[int, typer.Option(min=1, help="Steps to time.")] = 20,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N.")] = "auto",
    threads: Annotated[int | None, typer.Option(min=1, help="CPU threads.")] = None,
    precision: Annotated[
        str, typer.Option(help="auto, fp32, bf16 or fp16; auto is fp32 on a CPU.")
    ] = "auto",
    loader_workers: Annotated[
        int | None, typer.Option(min=0, help="Processes that prepare images.")
    ] = None,
    cache: Annotated[str, typer.Option(help=CACHE_HELP, metavar="auto|off|DIR")] = "auto",
    cache_gb: Annotated[
        float | None, typer.Option(min=0, help=f"{CACHE_GB_HELP} (default: {CACHE_GB_DEFAULT})")
    ] = None,
    augment_on: Annotated[str, typer.Option(help=AUGMENT_ON_HELP)] = "auto",
    json: Annotated[bool, typer.Option("--json", help="One JSON document.")] = False,
) -> None:
    """Show where a training step's time goes, and images a second."""
    from trials.candidate import resolve_candidate
    from trials.recipe import load_recipe
    from trials.settings import TrialSettings
    from trials.training.profiling import profile_training
    from trials.trial import Trial

    candidate, chosen = resolve_candidate(architecture), load_recipe(recipe)
    if batch_size is not None:
        chosen = replace(chosen, batch_size=batch_size)
    settings = TrialSettings(
        image_size=image_size,
        device=device,
        threads=threads,
        precision=precision,
        loader_workers=loader_workers,
        cache=cache,
        cache_gb=cache_gb,
        augment_on=augment_on,
    )
    trial = Trial(architecture=candidate, recipe=chosen, data_root=data, settings=settings)
    found = profile_training(trial, steps=steps)
    if json:
        common.print_json(_content(architecture, found))
    else:
        _print(architecture, found)


def _content(architecture: str, found: "StepProfile") -> dict[str, Any]:
    return {
        "architecture": architecture,
        "device": found.device,
        "threads": found.threads,
        "precision": found.precision,
        "image_size": found.image_size,
        "batch_size": found.batch_size,
        "steps": found.steps,
        "images": found.images,
        "images_per_second": found.images_per_second,
        "step_s": found.step_s,
        "parts_s": found.seconds,
        "shares": found.shares,
        "evaluation_s_per_image": found.evaluation_s,
    }


def _print(architecture: str, found: "StepProfile") -> None:
    where = f"{found.device}, {found.threads} threads, {found.precision}"
    size = f"{found.batch_size} images of {found.image_size} px"
    rows = [
        (_LABELS[part], f"{1000 * seconds:.1f}", f"{100 * found.shares[part]:.1f}")
        for part, seconds in found.seconds.items()
    ]
    rows.append(("step", f"{1000 * found.step_s:.1f}", "100.0"))
    title = f"{architecture} on {where}: {size}, mean of {found.steps} steps"
    common.print_table(title, ("part", "ms", "%"), rows, text_columns=("part",))
    rate, evaluation = found.images_per_second, 1000 * found.evaluation_s
    text = f"{rate:.1f} training images a second; evaluation: {evaluation:.1f} ms an image"
    common.print_rich(text)
