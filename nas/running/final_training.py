"""Final training of a candidate: in this process, or data-parallel through Ray Train."""

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
from search_spaces.errors import ConfigError
from trials.data.dataset import FaceDataset
from trials.device import GPU, resolve_device, resolve_precision
from trials.evaluation.evaluated_images import load_evaluated
from trials.lock import exclusive
from trials.result import EpochReport, TrialFault, TrialResult, load_result
from trials.run import LOCK_FILE, LOCK_WAIT_S, run_trial
from trials.training.metrics import read_metrics
from trials.trial import NO_CALLBACKS, REQUEST_FILE, Callbacks, Trial, claim

FOLDER = Path("runs", "train")
Connect = Callable[[str | None], AbstractContextManager[Cluster]]


@dataclass(frozen=True, kw_only=True)
class FinalTraining:
    """Final training of a candidate.

    Attributes:
        trial: What is trained; its settings have as many workers as the group.
        folder: Folder of this training alone, which all machines see under this path.
        group: Workers; a single one without `address` is this process.
        address: Address of a Ray cluster; None: this machine.
        retries: New attempts of a group that failed.
    """

    trial: Trial
    folder: Path
    group: WorkerGroup
    address: str | None = None
    retries: int = 1

    @property
    def is_local(self) -> bool:
        """Whether this process trains, without Ray."""
        return self.group.count == 1 and self.address is None


def choose_group(gpus: int | None, workers: int | None) -> tuple[WorkerGroup, str]:
    """Return the workers for `--gpus` and `--workers`, and the device of a single worker.

    Raises:
        ConfigError: Both are given.
    """
    if gpus is not None and workers is not None:
        rule = "--gpus counts workers on GPUs and --workers those on CPUs: give one of them"
        raise ConfigError(f"{rule}, got {gpus} and {workers}")
    if gpus is not None:
        return WorkerGroup(count=gpus, gpus=True), GPU
    return WorkerGroup(count=workers or 1), "auto" if workers is None else "cpu"


def training_folder(trial: Trial) -> Path:
    """Return `runs/train/<name>-<request>`, which differs between any two requests."""
    return FOLDER / trial.default_folder().name


def train(
    training: FinalTraining,
    callbacks: Callbacks = NO_CALLBACKS,
    connect: Connect = cluster.connected,
) -> TrialResult:
    """Train to the end, or continue where an interrupted call stopped.

    Args:
        training: What to train, and where.
        callbacks: Functions to call. `on_step` of a group counts epochs, and `should_stop` is
            for a training in this process: machines from `connect` have their own signals.
        connect: Source of the machines.

    Raises:
        The errors of `trials.run.run_trial` and `nas.running.distributed.run_group`.
    """
    settings = training.trial.settings
    device = torch.device(GPU if training.group.gpus else "cpu")
    if training.is_local:
        device = resolve_device(settings.device)
    if device.type == "cpu":
        resolve_precision(settings.precision, device)  # before the folder is created
    if training.is_local:
        return _train_here(training, callbacks)
    return _result_of(training) or _train_group(training, callbacks, connect)


def _train_here(training: FinalTraining, callbacks: Callbacks) -> TrialResult:
    trial = training.trial
    with tensorboard_log(training.folder) as log:

        def on_epoch(report: EpochReport) -> None:
            log(report)
            if callbacks.on_epoch:
                callbacks.on_epoch(report)

        return run_trial(
            trial.architecture,
            trial.recipe,
            trial.data_root,
            training.folder,
            settings=trial.settings,
            callbacks=replace(callbacks, on_epoch=on_epoch),
        )


def _train_group(training: FinalTraining, callbacks: Callbacks, connect: Connect) -> TrialResult:
    follower = MetricsFollower(training.folder, training.trial.settings.epochs)

    def poll() -> None:
        for report in follower.new_reports():
            if callbacks.on_step:
                callbacks.on_step(report.epoch, report.epochs)
            if callbacks.on_epoch:
                callbacks.on_epoch(report)

    with connect(training.address) as cluster:
        resources = training.group.resources(cluster)
        task = _task(training, resources.threads)
        run_group(cluster, task, resources, poll=poll, retries=training.retries)
    result = load_result(training.folder)
    if result is None:
        hint = "is it one that all machines of the cluster see under this path?"
        raise TrialFault(f"{training.folder}: holds no result of the workers; {hint}")
    return result


def _result_of(training: FinalTraining) -> TrialResult | None:
    """Return the result if there is one, after refusing what workers would refuse in minutes."""
    trial, folder = training.trial, training.folder
    request = trial.request()
    FaceDataset(trial.data_root, "train", faceless=False, held_out=trial.settings.held_out)
    load_evaluated(trial.data_root, held_out=trial.settings.held_out)
    if not (folder / REQUEST_FILE).exists():
        return None
    with exclusive(folder / LOCK_FILE, LOCK_WAIT_S):
        claim(folder, request)
        return load_result(folder)


def _task(training: FinalTraining, threads: int) -> TrialTask:
    trial = training.trial
    return TrialTask(
        number=1,
        architecture=trial.architecture.to_dict(),
        recipe=trial.recipe.to_dict(),
        settings=asdict(replace(trial.settings, threads=trial.settings.threads or threads)),
        data_root=str(trial.data_root.resolve()),
        folder=str(training.folder.resolve()),
        entry=ENTRY,
    )


class MetricsFollower:
    """Reader of the epochs that are added to a folder's metrics file."""

    def __init__(self, folder: Path, epochs: int) -> None:
        self._folder, self._epochs = folder, epochs
        self._seen = 0
        self.new_reports()

    def new_reports(self) -> list[EpochReport]:
        """Return the epochs finished since the last call, or since the construction."""
        reports = read_metrics(self._folder, self._epochs)
        added = reports[self._seen :]
        self._seen = max(self._seen, len(reports))
        return added
