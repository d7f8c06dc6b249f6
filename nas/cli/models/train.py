"""`scrfd-nas train`: final training of a candidate, on one or several processes."""

from dataclasses import dataclass, field, replace
from pathlib import Path

from nas.cli.shared import paths, trial_output
from nas.cli.shared.flags import argument, group, with_flags
from nas.cli.shared.run_flags import RunFlags
from nas.search.options import DATA, RecipeOptions
from trials.options import option
from trials.settings import TrialSettings


@dataclass(frozen=True, kw_only=True)
class TrainOptions:
    """Options of `train`."""

    candidate: str = field(
        metadata=argument(
            "A built-in name, a YAML file, or a folder of a search such as runs/x/stage2/0007, "
            "or its URL.",
            parser=paths.reference,
            metavar="CANDIDATE",
        )
    )
    data: Path = field(metadata=DATA)
    settings: TrialSettings = field(
        metadata=group(
            TrialSettings,
            *("epochs", "image_size", "seed", "precision", "eval_every", "threads"),
            *("loader_workers", "cache", "cache_gb", "augment_on"),
            epochs=640,
        )
    )
    recipe: RecipeOptions = field(metadata=group(RecipeOptions))
    gpus: int | None = field(
        default=None, metadata=option("Data-parallel workers, a GPU each.", minimum=1)
    )
    workers: int | None = field(
        default=None, metadata=option("Data-parallel workers on CPUs.", minimum=1)
    )
    out: Path | None = field(
        default=None,
        metadata=option(
            "Folder of the training; an existing one is continued.", default_text="in runs/train"
        ),
    )
    run: RunFlags = field(metadata=group(RunFlags, "ray_address", "as_json"))
    retries: int = field(
        default=1,
        metadata=option("Times that workers that died are started again.", minimum=0),
    )


@with_flags
def train(options: TrainOptions) -> None:
    """Train a candidate on the final schedule.

    Run the command again to resume.

    The reference recipe drops the rate at 0.6875 and 0.85 of the training: at epochs 440 and
    544 of 640. Every worker has the batch size of the recipe, and the rate is not scaled with
    their number, as in the reference.
    """
    from nas.running import final_training
    from trials.candidate import resolve_candidate
    from trials.trial import Trial

    architecture, recipe = resolve_candidate(options.candidate), options.recipe.load()
    group, device = final_training.choose_group(options.gpus, options.workers)
    settings = replace(options.settings, device=device, workers=group.count)
    trial = Trial(
        architecture=architecture, recipe=recipe, data_root=options.data, settings=settings
    )
    folder = options.out or final_training.training_folder(trial)
    training = final_training.FinalTraining(
        trial=trial,
        folder=folder,
        group=group,
        address=options.run.ray_address,
        retries=options.retries,
    )
    with trial_output.stoppable_training() as callbacks:
        result = final_training.train(training, callbacks)
    content = trial_output.result_content(architecture, result, folder)
    content["workers"] = group.count
    trial_output.print_result(content, as_json=options.run.as_json)


COMMANDS = {"train": train}
