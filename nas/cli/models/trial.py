"""`scrfd-nas trial`: training and evaluation of one architecture outside a search."""

from dataclasses import dataclass, field
from pathlib import Path

import typer

from nas.cli.shared import common, paths, trial_output
from nas.cli.shared.flags import group, with_flags
from nas.cli.shared.run_flags import RunFlags
from nas.search.options import DATA, RecipeOptions
from trials.options import option
from trials.settings import TrialSettings


@dataclass(frozen=True, kw_only=True)
class TrialOptions:
    """Options of `trial`."""

    architecture: str = field(metadata=paths.ARCHITECTURE)
    data: Path = field(metadata=DATA)
    recipe: RecipeOptions = field(metadata=group(RecipeOptions))
    settings: TrialSettings = field(
        metadata=group(
            TrialSettings,
            *("epochs", "image_size", "seed", "device", "threads", "precision"),
            *("loader_workers", "cache", "cache_gb", "augment_on", "eval_every", "select_on"),
        )
    )
    out: Path | None = field(
        default=None,
        metadata=option(
            "Folder of the trial; an existing one is continued.", default_text="in runs/trials"
        ),
    )
    run: RunFlags = field(metadata=group(RunFlags, "as_json"))


def register(app: typer.Typer) -> None:
    """Add the command to `app`."""
    app.command()(with_flags(trial))


def trial(options: TrialOptions) -> None:
    """Train and evaluate one architecture; run the command again to resume."""
    from trials.candidate import resolve_candidate
    from trials.run import run_trial
    from trials.trial import Callbacks, Trial

    candidate, recipe = resolve_candidate(options.architecture), options.recipe.load()
    settings = options.settings
    inputs = Trial(architecture=candidate, recipe=recipe, data_root=options.data, settings=settings)
    folder = options.out or inputs.default_folder()
    with (
        trial_output.stoppable() as should_stop,
        trial_output.training_progress() as (on_epoch, on_step),
    ):
        result = run_trial(
            candidate,
            recipe,
            options.data,
            folder,
            settings=settings,
            callbacks=Callbacks(on_epoch=on_epoch, on_step=on_step, should_stop=should_stop),
        )
    content = trial_output.result_content(candidate, result, folder)
    if options.run.as_json:
        common.print_json(content)
    else:
        trial_output.print_result(candidate, content)
