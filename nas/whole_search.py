"""A whole search: both stages, the confirmation, the winner's training, and its files.

Every step is the ordinary one with its usual files, by which a repeated call recognises what is
done. `plan.yaml` in the search directory keeps the plan.
"""

import shutil
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import asdict, dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import pandas as pd

from nas.monitoring.progress import Display
from nas.monitoring.rows import confirmed_best
from nas.monitoring.status import best_of
from nas.planning.plan_measuring import estimate_stage
from nas.planning.search_rules import SearchBudget, SearchPlan, plan_search, usual_recipe
from nas.resolve_request import data_root, resolve_request
from nas.results.confirm import Confirmation, confirm
from nas.run_options import RunOptions
from nas.running.distributed import WorkerGroup
from nas.running.final_training import FinalTraining, train
from nas.search.directory import PLAN_FILE, SearchDir
from nas.stage import run_stage, write_stage_leaderboard
from search_spaces.architecture import save_architecture
from search_spaces.checks import require_fields
from search_spaces.errors import ConfigError, DataError, counted
from search_spaces.files import replacing, write_text
from search_spaces.yaml_files import dump_yaml, read_yaml
from trials.data.check import Progress, check
from trials.data.dataset import count_images
from trials.model_file import load_model
from trials.onnx.export import export_onnx
from trials.recipe import Recipe
from trials.result import ARCHITECTURE_FILE, BEST, TrialResult
from trials.settings import VALIDATION
from trials.trial import Callbacks, Trial

ONNX_FILE = "model.onnx"


@dataclass(frozen=True, kw_only=True)
class WholeSearch:
    """A whole search.

    Attributes:
        directory: Search directory; created if absent.
        plan: Size of each step.
        options: Further options of stage 1, as `nas.stage.run_stage` takes them.
        out: Folder of the winner's training and files.
        max_gpu_hours: Limit of all steps; None: no limit.
    """

    directory: SearchDir
    plan: SearchPlan
    options: Mapping[str, Any]
    out: Path
    max_gpu_hours: float | None = None

    def stage_options(self, stage: int) -> dict[str, Any]:
        """Return the options of stage 1 or 2; stage 2 inherits those that are left out.

        Raises:
            ConfigError: The limit leaves no hours for the stages.
        """
        plan = self.plan
        options: dict[str, Any] = {"num_candidates": plan.candidates}
        if self.max_gpu_hours is not None:
            left = self.max_gpu_hours - plan.hours_after_stages
            if left <= 0:
                rule = "--max-gpu-hours must exceed what confirmation and final training take"
                later = f"{plan.hours_after_stages:.3g}"
                raise ConfigError(f"{rule} ({later}), got {self.max_gpu_hours:g}")
            options["max_gpu_hours"] = float(f"{left:.4g}")
        if stage == 2:
            return options | {k: v for k, v in self.options.items() if k == "data"}
        names = ("epochs", "scheduler", "grace_epochs", "strategy", "select_on")
        options |= {name: getattr(plan, name) for name in names}
        recipe = {"recipe": Recipe.named(plan.recipe).to_dict()} if plan.recipe else {}
        return options | recipe | dict(self.options)


def stored_plan(directory: SearchDir) -> SearchPlan | None:
    """Return the plan of a whole search that has begun, None before.

    Raises:
        ConfigError: The file is damaged, or the directory has another kind of search.
    """
    path = directory.root / PLAN_FILE
    if path.is_file():
        return SearchPlan(**require_fields(SearchPlan, read_yaml(path), str(path)))
    if directory.requests():
        rule = f"{directory}: holds a search without {PLAN_FILE}, which `search` did not begin"
        raise ConfigError(f"{rule}; choose another --search-dir")
    return None


def store_plan(directory: SearchDir, plan: SearchPlan) -> None:
    """Write the plan into the search directory, as its only driver. Raises BusyError."""
    with directory.held(1):
        write_text(directory.root / PLAN_FILE, dump_yaml(asdict(plan)))


def check_data(data: str | None, progress: Progress) -> None:
    """Read the labels and the headers of all images. Raises DataError if they have faults.

    Args:
        data: Folder of the data; None: the default one.
        progress: Called with (images checked, images of the split).
    """
    root = Path(data_root(data, is_recorded=False))
    faults = check(root, decode=False, progress=progress).faults
    if faults:
        count = counted(len(faults), "fault")
        raise DataError(f"{faults[0]}; {count}, listed by `scrfd-nas data check {root}`")


def plan_here(directory: SearchDir, options: Mapping[str, Any], hours: float) -> SearchPlan:
    """Time some steps on this machine, and return the plan of a budget; nothing is written.

    Args:
        directory: Search directory.
        options: As in `WholeSearch`.
        hours: Device-hours of all steps.

    Raises:
        ConfigError: The budget is too small; an option breaks a rule.
        DataError: There are no data.
        InfeasibleError: No candidate satisfies the constraints.
    """
    images, _ = count_images(data_root(options.get("data"), is_recorded=False))
    chosen = "" if "recipe" in options else usual_recipe(images)
    recipe = {"recipe": Recipe.named(chosen).to_dict()} if chosen else {}
    request, _ = resolve_request(directory, 1, {**options, **recipe})
    estimate = estimate_stage(directory, request)
    unit = "" if estimate.uses_gpus else "; without a GPU, GPU-hours are hours of a trial"
    return plan_search(
        SearchBudget(
            hours=hours,
            epoch_hours=estimate.device_hours / estimate.epochs,
            slots=estimate.slots,
            images=images,
            batch_size=Recipe.from_dict(request.recipe).batch_size,
            recipe=chosen,
            basis=f"{estimate.pace.basis}{unit}.",
        )
    )


def run_stages(search: WholeSearch, run: RunOptions, display: Display) -> dict[int, pd.DataFrame]:
    """Run or continue both stages and the confirmation; return the leaderboards by stage.

    Raises:
        The errors of `nas.stage.run_stage`; TrialError if no candidate of a stage finished.
    """
    directory, plan = search.directory, search.plan
    with _one_cluster(run) as shared:
        for stage in (1, 2):
            options = search.stage_options(stage)
            run_stage(directory, stage, options, shared, display).require_finished()
        if plan.seeds > 1:
            for stage, top in ((2, plan.confirmed), (1, 1)):  # the template has to be beaten
                asked = Confirmation(stage=stage, top=top, seeds=plan.seeds)
                confirm(directory, asked, shared, display)
    return {stage: write_stage_leaderboard(directory, stage) for stage in (1, 2)}


@contextmanager
def _one_cluster(run: RunOptions) -> Iterator[RunOptions]:
    """Yield options with which all steps share one Ray, started by the first that needs it."""
    with ExitStack() as stack:
        connect = cache(lambda address: stack.enter_context(run.connect(address)))
        yield replace(run, connect=lambda address: nullcontext(connect(address)))


def winner(directory: SearchDir) -> tuple[int, int]:
    """Return stage and number of the best candidate of both stages, by means over seeds.

    Raises:
        ConfigError: No candidate has finished.
    """
    found = {
        stage: confirmed_best(directory, stage) or best_of(directory.outcomes(stage))
        for stage in (1, 2)
    }
    ranked = [(best[1], stage, best[0]) for stage, best in found.items() if best]
    if not ranked:
        raise ConfigError(f"{directory}: no candidate has finished; continue the search first")
    _, stage, number = max(ranked)
    return stage, number


def train_winner(search: WholeSearch, callbacks: Callbacks) -> TrialResult:
    """Train the winner on all training images, or continue, and write its files into `out`.

    It is evaluated once, after its last epoch, on the validation images. The driver's lock of
    the search is held, so that `scrfd-nas stop` ends the training.

    Raises:
        ConfigError: No candidate has finished.
        The errors of `nas.running.final_training.train`.
    """
    stage, number = winner(search.directory)
    request = search.directory.requests()[stage]
    settings = replace(
        request.settings(threads=1),
        threads=None,
        epochs=search.plan.final_epochs,
        eval_every=0,
        eval_at=(),
        rungs=(),
        select_on=VALIDATION,
    )
    trial = Trial(
        architecture=search.directory.architecture(stage, number),
        recipe=Recipe.from_dict(request.recipe),
        data_root=Path(request.data),
        settings=settings,
    )
    training = FinalTraining(trial=trial, folder=search.out, group=WorkerGroup(count=1))
    with search.directory.held(stage):
        result = train(training, callbacks)
        save_architecture(trial.architecture, search.out / ARCHITECTURE_FILE)
        if not (search.out / ONNX_FILE).is_file():
            export_onnx(load_model(search.out / BEST)[1], search.out / ONNX_FILE)
    return result


def copy_report(page: Path, out: Path) -> Path:
    """Copy the report of the search beside the model; return its path."""
    with replacing(out / page.name) as temporary:
        shutil.copyfile(page, temporary)
    return out / page.name
