"""One trial on several GPUs or machines through Ray Train.

Ray Train starts the workers, joins them to a process group and restarts them if one dies. As in a
search, everything that has to last is in the trial's folder, which every machine sees: the driver
follows the metrics file, and a restarted group continues from the checkpoint.
"""

import logging
import os
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from nas.recording.tensorboard import tensorboard_log
from nas.running.cluster import Cluster
from nas.running.stop_request import make_stop_actor, registered, stop_trials
from nas.running.tasks import Resources, TrialTask, run_task
from search_spaces.errors import ConfigError
from trials.device import use_gpu
from trials.failure import failure_of
from trials.result import TrialFault, TrialInterrupted
from trials.run import advance_trial
from trials.training.parallel import joined_workers
from trials.trial import Callbacks, Trial

ENTRY = "nas.running.distributed:run_worker"
POLL_S = 0.5
# Followers wait in the next collective operation while the leader evaluates.
_LONGEST_WAIT_S = 4 * 3600
_ENVIRONMENT = {
    "RAY_TRAIN_V2_ENABLED": "1",  # the default in newer versions of Ray
    "RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S": "600",
    "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "1",
}


@dataclass(frozen=True, kw_only=True)
class WorkerGroup:
    """Data-parallel workers of a training.

    Attributes:
        count: Number of workers, at least 1.
        gpus: Whether each has a GPU; otherwise they share the CPU's cores.
    """

    count: int
    gpus: bool = False

    def resources(self, cluster: Cluster) -> Resources:
        """Return a worker's share of the cluster. Raises ConfigError if it is too small."""
        name, unit = ("gpus", "GPUs") if self.gpus else ("workers", "cores")
        available = int(cluster.gpus if self.gpus else cluster.cpus)
        if self.count > available:
            rule = f"--{name} must not exceed the {available} {unit} that Ray has"
            raise ConfigError(f"{rule}, got {self.count}")
        cpus = max(1, int(cluster.cpus) // (int(cluster.gpus) if self.gpus else self.count))
        return Resources(cpus_per_trial=cpus, gpus_per_trial=float(self.gpus))


def run_group(
    cluster: Cluster,
    task: TrialTask,
    resources: Resources,
    *,
    poll: Callable[[], None],
    retries: int,
) -> None:
    """Run the workers of a task to their end.

    Args:
        cluster: Cluster to run on.
        task: Task with `ENTRY` as its entry, and the number of workers in its settings.
        resources: Resources of each worker.
        poll: Called twice a second, and once more at the end, in this thread.
        retries: New attempts of a group in which a worker died or failed.

    Raises:
        TrialFault: The last attempt failed.
        KeyboardInterrupt, Terminated: A signal arrived.
    """
    actor = make_stop_actor()
    trainer = _trainer(cluster, task, resources, retries, actor)
    errors: list[BaseException] = []
    thread = threading.Thread(target=_fit, args=(trainer, errors), daemon=True)
    thread.start()  # `fit` would block the signals
    try:
        while thread.is_alive():
            thread.join(POLL_S)
            cluster.stop.check()
            poll()
    except BaseException:
        stop_trials(actor, range(task.settings["workers"]))
        raise
    if errors:
        raise _fault_of(errors[0]) from errors[0]


def run_worker(trial: Trial, folder: Path, *, until: int, callbacks: Callbacks) -> None:
    """Run the trial as one worker of its group, on the device that Ray has assigned.

    Arguments and errors are those of `trials.run.advance_trial`; `on_epoch` is not called,
    since the driver follows the metrics file.
    """
    from ray.train.torch import get_device

    workers = joined_workers()
    device = get_device()
    use_gpu(device)
    trial = replace(trial, settings=replace(trial.settings, device=str(device)))
    if not workers.leads:
        advance_trial(trial, folder, until=until, callbacks=callbacks, workers=workers)
        return
    with tensorboard_log(folder) as log:
        callbacks = replace(callbacks, on_epoch=log)
        advance_trial(trial, folder, until=until, callbacks=callbacks, workers=workers)


def _trainer(
    cluster: Cluster, task: TrialTask, resources: Resources, retries: int, actor: Any
) -> Any:
    for name, value in _ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    from ray import train
    from ray.train.torch import TorchConfig, TorchTrainer

    logging.getLogger("ray.train").setLevel(logging.CRITICAL)
    on_gpu = resources.gpus_per_trial > 0
    share = {"CPU": resources.cpus_per_trial} | ({"GPU": 1.0} if on_gpu else {})
    return TorchTrainer(
        _worker_loop,
        train_loop_config={"task": task, "actor": actor},
        torch_config=TorchConfig(backend="nccl" if on_gpu else "gloo", timeout_s=_LONGEST_WAIT_S),
        scaling_config=train.ScalingConfig(
            num_workers=task.settings["workers"], use_gpu=on_gpu, resources_per_worker=share
        ),
        run_config=train.RunConfig(
            name="train",
            storage_path=str(cluster.scratch / "train"),
            failure_config=train.FailureConfig(max_failures=retries),
        ),
    )


def _worker_loop(config: Mapping[str, Any]) -> None:
    from ray import train

    rank = train.get_context().get_world_rank()
    # An interrupted training is on disk, and the driver is about to leave.
    with suppress(TrialInterrupted), registered(config["actor"], rank) as visit:
        run_task(config["task"], lambda report: None, visit.should_stop)


def _fit(trainer: Any, errors: list[BaseException]) -> None:
    try:
        trainer.fit()
    except BaseException as error:  # raised again by `run_group`
        errors.append(error)


def _fault_of(error: BaseException) -> TrialFault:
    """Return the cause among the workers' errors: when one dies, the others lose connection."""
    failures = getattr(error, "worker_failures", None) or {0: error}
    faults = [_worker_fault(failure) for _, failure in sorted(failures.items())]
    return min(faults, key=lambda fault: fault.kind == "error")


def _worker_fault(error: BaseException) -> TrialFault:
    from ray.exceptions import OutOfMemoryError, RayActorError

    cause = getattr(error, "cause", None) or getattr(error, "_base_exc", None) or error
    if isinstance(cause, TrialFault):
        return cause
    if isinstance(error, OutOfMemoryError):
        return TrialFault("the machine ran out of memory and Ray ended a worker", kind="memory")
    if isinstance(error, RayActorError):
        reason = "a worker's process died (killed, or the machine ran out of memory)"
        return TrialFault(reason, kind="killed")
    failure = failure_of(cause)
    return TrialFault(failure.reason, failure.kind)
