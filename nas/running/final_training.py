"""The long training of a winner: in this process, or data-parallel through Ray Train."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import torch

from nas.recording.tensorboard import tensorboard_log
from nas.running import cluster
from nas.running.cluster import Cluster
from nas.running.distributed import ENTRY, WorkerGroup, run_group
from nas.running.tasks import TrialTask
from search_spaces.architecture import Architecture
from search_spaces.errors import ConfigError
from trials.data.dataset import FaceDataset
from trials.device import resolve_device, resolve_precision
from trials.evaluation.evaluated_images import load_evaluated
from trials.lock import exclusive
from trials.recipe import Recipe
from trials.result import EpochReport, TrialFault, TrialResult, load_result
from trials.run import LOCK_FILE, LOCK_WAIT_S, run_trial
from trials.settings import TrialSettings
from trials.training.metrics import read_metrics
from trials.trial import REQUEST_FILE, Callbacks, OnEpoch, OnStep, ShouldStop, Trial, claim

FOLDER = Path("runs", "train")
Connect = Callable[[str | None], AbstractContextManager[Cluster]]


@dataclass(frozen=True, kw_only=True)
class FinalTraining:
    """What to train, how, and on what.

    Attributes:
        architecture, recipe: of the network.
        data: folder with `train` and `val` in the labelv2 layout.
        folder: of this training alone; all machines see it under this path.
        settings: its `workers` are as many as the group's.
        group: the workers; one without `address` is this process.
        address: of a Ray cluster; None: this machine.
        retries: how often a group that failed is started again.
    """

    architecture: Architecture
    recipe: Recipe
    data: Path
    folder: Path
    settings: TrialSettings
    group: WorkerGroup
    address: str | None = None
    retries: int = 1

    @property
    def is_local(self) -> bool:
        """Whether this process does the work, without Ray."""
        return self.group.count == 1 and self.address is None


def choose_group(gpus: int | None, workers: int | None) -> tuple[WorkerGroup, str]:
    """The workers that `--gpus` and `--workers` mean, and the device of a single one.

    Raises:
        ConfigError: both are given.
    """
    if gpus is not None and workers is not None:
        rule = "--gpus counts workers on GPUs and --workers those on CPUs: give one of them"
        raise ConfigError(f"{rule}, got {gpus} and {workers}")
    if gpus is not None:
        return WorkerGroup(count=gpus, gpus=True), "cuda"
    return WorkerGroup(count=workers or 1), "auto" if workers is None else "cpu"


def training_folder(
    architecture: Architecture, recipe: Recipe, data: Path, settings: TrialSettings
) -> Path:
    """`runs/train/<name>-<request>`: the same for the same request, and only for it."""
    trial = Trial(architecture=architecture, recipe=recipe, data_root=data, settings=settings)
    return FOLDER / trial.default_folder().name


def train(
    training: FinalTraining,
    *,
    on_epoch: OnEpoch,
    on_step: OnStep,
    should_stop: ShouldStop | None = None,
    connect: Connect = cluster.connected,
) -> TrialResult:
    """Train to the end, or continue where an interrupted call stopped.

    Args:
        training: see there.
        on_epoch: hears of every epoch.
        on_step: hears of progress: (iterations, or epochs of a group, done; in all).
        should_stop: ends a training in this process, as `trials.run.run_trial` does; the
            machines that `connect` gives have signals of their own.
        connect: where the machines come from.

    Raises: as `trials.run.run_trial` and `nas.running.distributed.run_group`.
    """
    device = torch.device("cuda" if training.group.gpus else "cpu")
    if training.is_local:
        device = resolve_device(training.settings.device)
    if device.type == "cpu":
        resolve_precision(training.settings.precision, device)  # before there is a folder
    if not training.is_local:
        return _train_group(training, on_epoch, on_step, connect)
    with tensorboard_log(training.folder) as log:

        def record(report: EpochReport) -> None:
            log(report)
            on_epoch(report)

        return run_trial(
            training.architecture,
            training.recipe,
            training.data,
            training.folder,
            settings=training.settings,
            callbacks=Callbacks(on_epoch=record, on_step=on_step, should_stop=should_stop),
        )


def _train_group(
    training: FinalTraining, on_epoch: OnEpoch, on_step: OnStep, connect: Connect
) -> TrialResult:
    finished = _prepare(training)
    if finished is not None:
        return finished
    follower = MetricsFollower(training.folder, training.settings.epochs)

    def poll() -> None:
        for report in follower.news():
            on_step(report.epoch, report.epochs)
            on_epoch(report)

    with connect(training.address) as cluster:
        resources = training.group.resources(cluster)
        task = _task(training, resources.threads)
        run_group(cluster, task, resources, poll=poll, retries=training.retries)
    result = load_result(training.folder)
    if result is None:
        hint = "is it one that all machines of the cluster see under this path?"
        raise TrialFault(f"{training.folder}: holds no result of the workers; {hint}")
    return result


def _prepare(training: FinalTraining) -> TrialResult | None:
    """Refuse here what the workers would refuse after minutes; the result if there is one."""
    settings, folder = training.settings, training.folder
    trial = Trial(
        architecture=training.architecture,
        recipe=training.recipe,
        data_root=training.data,
        settings=settings,
    )
    request = trial.request()
    held_out = training.settings.held_out
    FaceDataset(training.data, "train", faceless=False, held_out=held_out)
    load_evaluated(training.data, held_out=held_out)
    if not (folder / REQUEST_FILE).exists():
        return None
    with exclusive(folder / LOCK_FILE, LOCK_WAIT_S):
        claim(folder, request)
        return load_result(folder)


def _task(training: FinalTraining, threads: int) -> TrialTask:
    return TrialTask(
        number=1,
        architecture=training.architecture.to_dict(),
        recipe=training.recipe.to_dict(),
        settings=asdict(replace(training.settings, threads=training.settings.threads or threads)),
        data_root=str(training.data.resolve()),
        folder=str(training.folder.resolve()),
        entry=ENTRY,
    )


class MetricsFollower:
    """Reads of a folder's metrics file what was added since the last look."""

    def __init__(self, folder: Path, epochs: int) -> None:
        self._folder, self._epochs = folder, epochs
        self._seen = 0
        self.news()

    def news(self) -> list[EpochReport]:
        """The epochs finished since the last call, or since this follower was made."""
        reports = read_metrics(self._folder, self._epochs)
        added = reports[self._seen :]
        self._seen = max(self._seen, len(reports))
        return added
