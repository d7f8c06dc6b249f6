"""`scrfd-nas train`: the final training of a candidate, on as many GPUs as there are."""

from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from nas.cli import common, paths, trial_output
from nas.cli.stage_options import (
    AUGMENT_ON_HELP,
    CACHE_GB_DEFAULT,
    CACHE_GB_HELP,
    CACHE_HELP,
)


def register(app: typer.Typer) -> None:
    """Add the command to `app`."""
    app.command()(train)


def train(
    candidate: Annotated[
        str,
        typer.Argument(
            help="A built-in name, a YAML file, or a folder of a search such as "
            "runs/x/stage2/0007, or its URL.",
            parser=paths.reference,
            metavar="CANDIDATE",
        ),
    ],
    data: Annotated[Path, typer.Option(help="Folder with train/ and val/ in labelv2 layout.")],
    epochs: Annotated[int, typer.Option(min=1)] = 640,
    gpus: Annotated[
        int | None, typer.Option(min=1, help="Data-parallel workers, a GPU each.")
    ] = None,
    workers: Annotated[
        int | None, typer.Option(min=1, help="Data-parallel workers on CPUs.")
    ] = None,
    recipe: Annotated[str, typer.Option(help="reference, quick, or a YAML file.")] = "reference",
    batch_size: Annotated[
        int | None,
        typer.Option("--batch-size", "--batch", min=1, help="Of each worker (default: recipe's)."),
    ] = None,
    image_size: Annotated[int, typer.Option(help="Training crops' side, in pixels.")] = 640,
    seed: Annotated[int, typer.Option(min=0)] = 0,
    out: Annotated[
        Path | None,
        typer.Option(help="Folder to continue in. (default: in runs/train)"),
    ] = None,
    eval_every: Annotated[
        int, typer.Option(min=0, help="Epochs between evaluations; 0: only at the end.")
    ] = 0,
    precision: Annotated[
        str, typer.Option(help="auto, fp32, bf16 or fp16; auto is fp32 on a CPU.")
    ] = "auto",
    threads: Annotated[int | None, typer.Option(min=1, help="CPU threads of each worker.")] = None,
    loader_workers: Annotated[
        int | None, typer.Option(min=0, help="Processes a worker that prepare images.")
    ] = None,
    cache: Annotated[str, typer.Option(help=CACHE_HELP, metavar="auto|off|DIR")] = "auto",
    cache_gb: Annotated[
        float | None, typer.Option(min=0, help=f"{CACHE_GB_HELP} (default: {CACHE_GB_DEFAULT})")
    ] = None,
    augment_on: Annotated[str, typer.Option(help=AUGMENT_ON_HELP)] = "auto",
    ray_address: Annotated[
        str | None,
        typer.Option(help="A running Ray cluster: auto or HOST:PORT. (default: this machine)"),
    ] = None,
    retries: Annotated[
        int, typer.Option(min=0, help="How often workers that died are started again.")
    ] = 1,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    """Train a candidate on the final schedule; run it again to continue.

    The reference recipe drops the rate at 0.6875 and 0.85 of the training: at epochs 440 and
    544 of 640. Every worker has the recipe's batch size, and the rate is not scaled with
    their number, as in the reference.
    """
    from nas.running.final_training import (
        FinalTraining,
        choose_group,
        training_folder,
    )
    from nas.running.final_training import train as run_training
    from trials.candidate import resolve_candidate
    from trials.recipe import load_recipe
    from trials.settings import TrialSettings

    architecture, chosen = resolve_candidate(candidate), load_recipe(recipe)
    if batch_size is not None:
        chosen = replace(chosen, batch_size=batch_size)
    group, device = choose_group(gpus, workers)
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
        workers=group.count,
    )
    training = FinalTraining(
        architecture=architecture,
        recipe=chosen,
        data=data,
        folder=out or training_folder(architecture, chosen, data, settings),
        settings=settings,
        group=group,
        address=ray_address,
        retries=retries,
    )
    with (
        trial_output.stoppable() as should_stop,
        trial_output.training_progress() as (on_epoch, on_step),
    ):
        result = run_training(training, on_epoch=on_epoch, on_step=on_step, should_stop=should_stop)
    content = trial_output.result_content(architecture, result, training.folder)
    if as_json:
        common.print_json({**content, "workers": group.count})
    else:
        trial_output.print_result(architecture, content)
