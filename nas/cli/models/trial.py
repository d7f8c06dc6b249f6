"""`scrfd-nas trial`: training and evaluation of one architecture outside a search."""

from dataclasses import dataclass, field
from pathlib import Path

from nas.cli.shared import paths, trial_output
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


@with_flags
def trial(options: TrialOptions) -> None:
    """Train and evaluate one architecture.

    Run the command again to resume.
    """
    from trials.candidate import resolve_candidate
    from trials.run import run_trial
    from trials.trial import Trial

    candidate, recipe = resolve_candidate(options.architecture), options.recipe.load()
    settings = options.settings
    inputs = Trial(architecture=candidate, recipe=recipe, data_root=options.data, settings=settings)
    folder = options.out or inputs.default_folder()
    with trial_output.stoppable_training() as callbacks:
        result = run_trial(
            candidate,
            recipe,
            options.data,
            folder,
            settings=settings,
            callbacks=callbacks,
        )
    content = trial_output.result_content(candidate, result, folder)
    trial_output.print_result(content, as_json=options.run.as_json)


COMMANDS = {"trial": trial}
