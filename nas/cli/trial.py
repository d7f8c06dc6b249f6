"""`scrfd-nas trial`: train and evaluate one architecture outside a search."""

from pathlib import Path
from typing import Annotated

import typer

from nas.cli import common, paths, trial_output
from nas.cli.stage_options import (
    AUGMENT_ON_HELP,
    CACHE_GB_DEFAULT,
    CACHE_GB_HELP,
    CACHE_HELP,
    SELECT_ON_HELP,
)


def register(app: typer.Typer) -> None:
    """Add the command to `app`."""
    app.command()(trial)


def trial(
    architecture: Annotated[str, paths.ARCHITECTURE],
    data: Annotated[Path, typer.Option(help="Folder with train/ and val/ in labelv2 layout.")],
    recipe: Annotated[str, typer.Option(help="reference, quick, or a YAML file.")] = "reference",
    epochs: Annotated[int, typer.Option(min=1)] = 80,
    image_size: Annotated[int, typer.Option(help="Training crops' side, in pixels.")] = 640,
    seed: Annotated[int, typer.Option(min=0)] = 0,
    out: Annotated[
        Path | None,
        typer.Option(help="Folder of the trial; run again with it to continue."),
    ] = None,
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
    eval_every: Annotated[
        int, typer.Option(min=0, help="Epochs between evaluations; 0: only at the end.")
    ] = 0,
    select_on: Annotated[
        str, typer.Option(help=SELECT_ON_HELP, metavar="val|holdout:SHARE")
    ] = "val",
    json: Annotated[bool, typer.Option("--json", help="One JSON document.")] = False,
) -> None:
    """Train and evaluate one architecture; run it again to continue."""
    from trials.candidate import resolve_candidate
    from trials.recipe import load_recipe
    from trials.run import run_trial
    from trials.settings import TrialSettings
    from trials.trial import Callbacks, Trial

    candidate, chosen = resolve_candidate(architecture), load_recipe(recipe)
    settings = TrialSettings(
        epochs=epochs,
        image_size=image_size,
        seed=seed,
        device=device,
        threads=threads,
        precision=precision,
        loader_workers=loader_workers,
        cache=cache,
        cache_gb=cache_gb,
        augment_on=augment_on,
        eval_every=eval_every,
        select_on=select_on,
    )
    trial = Trial(architecture=candidate, recipe=chosen, data_root=data, settings=settings)
    folder = out or trial.default_folder()
    with (
        trial_output.stoppable() as should_stop,
        trial_output.training_progress() as (on_epoch, on_step),
    ):
        result = run_trial(
            candidate,
            chosen,
            data,
            folder,
            settings=settings,
            callbacks=Callbacks(on_epoch=on_epoch, on_step=on_step, should_stop=should_stop),
        )
    content = trial_output.result_content(candidate, result, folder)
    if json:
        common.print_json(content)
    else:
        trial_output.print_result(candidate, content)
