"""`scrfd-nas profile`: time of a training step, part by part."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nas.cli.shared import common, paths
from nas.cli.shared.flags import group, with_flags
from nas.cli.shared.run_flags import RunFlags
from nas.search.options import DATA, RecipeOptions
from search_spaces.errors import counted
from trials.options import option
from trials.settings import TrialSettings

if TYPE_CHECKING:
    from trials.training.profiling import StepProfile

_LABELS = {
    "input": "input (read, crop, resize, distort)",
    "forward": "forward",
    "assignment_and_loss": "assignment and loss",
    "backward": "backward",
    "optimizer": "optimiser",
}
_FIGURES = (
    *("device", "threads", "precision", "image_size", "batch_size"),
    *("steps", "images", "images_per_second", "step_s"),
)


@dataclass(frozen=True, kw_only=True)
class ProfileOptions:
    """Options of `profile`."""

    architecture: str = field(metadata=paths.ARCHITECTURE)
    data: Path = field(metadata=DATA)
    recipe: RecipeOptions = field(metadata=group(RecipeOptions))
    settings: TrialSettings = field(
        metadata=group(
            TrialSettings,
            *("image_size", "device", "threads", "precision"),
            *("loader_workers", "cache", "cache_gb", "augment_on"),
        )
    )
    steps: int = field(default=20, metadata=option("Training steps to time.", minimum=1))
    run: RunFlags = field(metadata=group(RunFlags, "as_json"))


@with_flags
def profile(options: ProfileOptions) -> None:
    """Show how the time of a training step is spent."""
    from trials.candidate import resolve_candidate
    from trials.training.profiling import profile_training
    from trials.trial import Trial

    candidate, recipe = resolve_candidate(options.architecture), options.recipe.load()
    trial = Trial(
        architecture=candidate, recipe=recipe, data_root=options.data, settings=options.settings
    )
    found = profile_training(trial, steps=options.steps)
    if options.run.as_json:
        common.print_json(_content(options.architecture, found))
    else:
        _print(options.architecture, found)


def _content(architecture: str, found: "StepProfile") -> dict[str, Any]:
    return {
        "architecture": architecture,
        **{name: getattr(found, name) for name in _FIGURES},
        "parts_s": found.seconds,
        "shares": found.shares,
        "evaluation_s_per_image": found.evaluation_s,
    }


def _print(architecture: str, found: "StepProfile") -> None:
    where = f"{found.device}, {counted(found.threads, 'thread')}, {found.precision}"
    size = f"{counted(found.batch_size, 'image')} of {found.image_size} px"
    rows = [
        (_LABELS[part], f"{1000 * seconds:.1f}", f"{100 * found.shares[part]:.1f}")
        for part, seconds in found.seconds.items()
    ]
    rows.append(("step", f"{1000 * found.step_s:.1f}", "100.0"))
    title = f"{architecture} on {where}: {size}, mean of {counted(found.steps, 'step')}"
    common.print_table(title, ("part", "ms", "%"), rows, text_columns=("part",))
    rate, evaluation = found.images_per_second, 1000 * found.evaluation_s
    text = f"{rate:.1f} training images a second; evaluation: {evaluation:.1f} ms an image"
    common.print_rich(text)


COMMANDS = {"profile": profile}
