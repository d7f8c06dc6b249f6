"""Running trials on Ray: the only file that knows Ray.

Ray is disposable here. It places trials on machines, restarts those that die and tells
the driver about their epochs; everything that has to last lies in the trials' folders.
"""

import logging
import os
import shutil
import socket
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

from nas.signals import StopSignal, noting_signals
from nas.tasks import EventKind, Resources, TrialEvent, TrialTask, run_task
from search_spaces.errors import ConfigError
from trials.result import EpochReport, TrialFailure, failure_of

# Read by Ray when it is imported or started. Its own files and output are not wanted: the
# trial's folder holds the metrics, and one display shows the search.
_RAY_ENVIRONMENT = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_AIR_NEW_OUTPUT": "0",
    "RAY_CHDIR_TO_TRIAL_DIR": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "1",  # a trial without a GPU must not see one
    "RAY_DEDUP_LOGS": "0",
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "TUNE_DISABLE_AUTO_INIT": "1",
    "TUNE_DISABLE_SIGINT_HANDLER": "1",  # ours, below, also answers SIGTERM
    "TUNE_GLOBAL_CHECKPOINT_S": "1000000000",  # Tune's own snapshots are never restored
    "TUNE_WARN_SLOW_EXPERIMENT_CHECKPOINT_SYNC_THRESHOLD_S": "1000000000",
}
# Ray's own switch (named after the systems where it is the default) to listen on 127.0.0.1.
_LOOPBACK = {"RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0"}
_OBJECT_STORE_BYTES = 100 << 20  # trials exchange a few kilobytes
_KNOCK_S = 10.0
_LONGEST_TEMPORARY = 30  # Ray puts sockets below it, whose paths may have 107 characters


@dataclass(kw_only=True)
class Cluster:
    """A running Ray that this process is connected to (see `connected`).

    Attributes:
        cpus, gpus: of all its machines.
        scratch: a temporary folder for Tune's bookkeeping.
    """

    cpus: float
    gpus: float
    scratch: Path
    stop: StopSignal = field(repr=False)

    def default_resources(self, num_trials: int) -> Resources:
        """A GPU a trial where there are GPUs; otherwise the cores shared among the trials."""
        if self.gpus >= 1:
            return Resources(cpus_per_trial=max(1, self.cpus // self.gpus), gpus_per_trial=1)
        at_once = max(1, min(num_trials, int(self.cpus)))
        return Resources(cpus_per_trial=max(1, int(self.cpus) // at_once))

    def check(self, resources: Resources) -> None:
        """Refuse a trial that could never start. Raises ConfigError."""
        wanted = {"cpus": resources.cpus_per_trial, "gpus": resources.gpus_per_trial}
        for name, amount in wanted.items():
            available = getattr(self, name)
            if amount > available:
                rule = f"--{name}-per-trial must not exceed the {available:g} that Ray has"
                raise ConfigError(f"{rule}, got {amount:g}")

    def run(
        self,
        tasks: Sequence[TrialTask],
        resources: Resources,
        *,
        on_event: Callable[[TrialEvent], None],
        retries: int = 1,
    ) -> None:
        """Run every task to its end; `on_event` hears of each, in this process and thread.

        A trial that raises, or whose process dies, is started again up to `retries` times
        (and continues from its own checkpoint). An exception of `on_event`, Ctrl-C and
        SIGTERM stop all trials.

        Raises:
            ConfigError: no machine of the cluster can hold a trial.
            KeyboardInterrupt, Terminated: stopped by a signal.
        """
        if not tasks:
            return
        from ray import tune

        self.check(resources)
        share = {"cpu": resources.cpus_per_trial, "gpu": resources.gpus_per_trial}
        # A closure travels by value, so that workers need no import by __main__'s name.
        trainable = tune.with_parameters(_trainable, tasks={task.number: task for task in tasks})
        tuner = tune.Tuner(
            tune.with_resources(trainable, share),
            param_space={"number": tune.grid_search([task.number for task in tasks])},
            # One process runs trial after trial: torch is imported once, not once a trial.
            tune_config=tune.TuneConfig(reuse_actors=True),
            run_config=tune.RunConfig(
                name="search",
                storage_path=str(self.scratch / "tune"),
                verbose=0,
                callbacks=[_callback(on_event, self.stop)],
                failure_config=tune.FailureConfig(max_failures=retries),
            ),
        )
        tuner.fit()


@contextmanager
def connected(address: str | None = None, cpus: int | None = None) -> Iterator[Cluster]:
    """Start Ray on this machine (loopback only), or join the cluster at `address`.

    While connected, SIGINT and SIGTERM are noted and stop `Cluster.run`; on leaving, the
    trials of this driver are gone, as is Ray itself if it was started here.

    Args:
        address: None (this machine), `auto`, or `host:port` of a running cluster.
        cpus: cores that a local Ray may use; None: all that this process may use.

    Raises:
        ConfigError: there is no cluster at `address`.
    """
    ray = _import_ray(address)
    scratch = _make_scratch(Path(_temporary_root()))
    try:
        with noting_signals() as stop, _without_ray_output(scratch):
            _start(ray, address, cpus, scratch)
            stop.arm()
            total = ray.cluster_resources()
            cpus_there, gpus_there = total.get("CPU", 0.0), total.get("GPU", 0.0)
            yield Cluster(cpus=cpus_there, gpus=gpus_there, scratch=scratch, stop=stop)
    finally:
        ray.shutdown()
        shutil.rmtree(scratch, ignore_errors=True)


def _import_ray(address: str | None) -> Any:
    environment = _RAY_ENVIRONMENT if address else _RAY_ENVIRONMENT | _LOOPBACK
    for name, value in environment.items():
        os.environ.setdefault(name, value)
    import ray

    logging.getLogger("ray").setLevel(logging.CRITICAL)  # its errors reach us as events
    return ray


def _start(ray: Any, address: str | None, cpus: int | None, scratch: Path) -> None:
    quiet = {"log_to_driver": False, "logging_level": logging.CRITICAL}
    if address is None:
        ray.init(
            address="local",
            num_cpus=cpus or len(os.sched_getaffinity(0)),
            include_dashboard=False,
            object_store_memory=_OBJECT_STORE_BYTES,
            _temp_dir=str(scratch),
            **quiet,
        )
        return
    try:
        _knock(address)
        ray.init(address=address, **quiet)
    except (OSError, ValueError, RuntimeError) as error:
        hint = "start one with `ray start --head`, or leave --ray-address out; a cluster that "
        hint += "asks for a token (Ray 2.60 does) needs RAY_AUTH_MODE=token in the environment"
        raise ConfigError(f"no Ray cluster at {address!r} ({_one_line(error)}); {hint}") from error


def _knock(address: str) -> None:
    """Find out quickly whether anybody answers: Ray itself would try for many minutes.

    Raises:
        OSError, ValueError: nobody does, or it is no address.
    """
    if "://" in address:  # of a Ray client, which has a time limit of its own
        return
    from ray._private.services import canonicalize_bootstrap_address_or_die

    host, _, port = canonicalize_bootstrap_address_or_die(address).rpartition(":")
    with socket.create_connection((host.strip("[]"), int(port)), timeout=_KNOCK_S):
        pass


def _temporary_root() -> str:
    root = tempfile.gettempdir()
    return root if len(root) <= _LONGEST_TEMPORARY else "/tmp"


def _make_scratch(root: Path) -> Path:
    """A temporary folder named after this process; those of dead processes are removed."""
    for left_over in root.glob("scrfd-*-*"):
        pid = left_over.name.split("-")[1]
        if pid.isascii() and pid.isdigit() and not Path("/proc", pid).exists():
            shutil.rmtree(left_over, ignore_errors=True)
    return Path(tempfile.mkdtemp(prefix=f"scrfd-{os.getpid()}-", dir=root))


@contextmanager
def _without_ray_output(scratch: Path) -> Iterator[None]:
    """Ray prints its workers' deaths to standard output, which belongs to the result."""
    with (scratch / "ray.txt").open("w", encoding="utf-8") as sink, redirect_stdout(sink):
        yield


def _callback(on_event: Callable[[TrialEvent], None], stop: StopSignal) -> Any:
    """A Tune callback that translates into events."""
    from ray import tune

    class Translator(tune.Callback):
        def __reduce__(self) -> Any:
            return tune.Callback, ()  # Tune pickles its callbacks, to restore what we do not

        def on_step_end(self, iteration: int, trials: list[Any], **info: Any) -> None:
            stop.check()  # here, between two steps, Tune's state is whole

        def on_trial_start(self, iteration: int, trials: list[Any], trial: Any, **_: Any) -> None:
            on_event(TrialEvent(kind="started", number=trial.config["number"]))

        def on_trial_result(
            self, iteration: int, trials: list[Any], trial: Any, result: dict[str, Any], **_: Any
        ) -> None:
            values: dict[str, Any] = {key: result[key] for key in ("epoch", "epochs", "hard")}
            on_event(TrialEvent(kind="epoch", number=trial.config["number"], **values))

        def on_trial_complete(
            self, iteration: int, trials: list[Any], trial: Any, **_: Any
        ) -> None:
            on_event(TrialEvent(kind="finished", number=trial.config["number"]))

        def on_trial_recover(self, iteration: int, trials: list[Any], trial: Any, **_: Any) -> None:
            on_event(_failed("retried", trial))

        def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **_: Any) -> None:
            on_event(_failed("failed", trial))

    return Translator()


def _failed(kind: EventKind, trial: Any) -> TrialEvent:
    failure = _failure(_error_of(trial), trial.num_failures)
    return TrialEvent(kind=kind, number=trial.config["number"], failure=failure)


def _error_of(trial: Any) -> BaseException | None:
    """The exception that Tune has just put into the trial's driver-side scratch folder."""
    from ray import cloudpickle

    try:
        content = Path(trial.pickled_error_file or "").read_bytes()
        return cast("BaseException | None", cloudpickle.loads(content))
    except Exception:  # any class may fail to load; the failure is still a failure
        return None


def _failure(error: BaseException | None, attempts: int) -> TrialFailure:
    """What ended an attempt, from what Ray keeps of it."""
    from ray.exceptions import OutOfMemoryError, RayActorError

    attempts = max(attempts, 1)
    cause = getattr(error, "cause", None)
    if isinstance(cause, BaseException):
        return failure_of(cause, attempts)
    if isinstance(error, OutOfMemoryError):
        reason = "the machine ran out of memory and Ray ended the trial"
        return TrialFailure(reason=reason, kind="memory", attempts=attempts)
    if isinstance(error, RayActorError):
        reason = "the trial's process died (killed, or the machine ran out of memory)"
        return TrialFailure(reason=reason, kind="killed", attempts=attempts)
    lines = str(error or "unknown error").strip().splitlines()
    return TrialFailure(reason=lines[-1], attempts=attempts)


def _trainable(config: Mapping[str, Any], tasks: Mapping[int, TrialTask]) -> None:
    """What a Ray worker runs: one trial, reporting after every epoch."""
    from ray import tune

    def on_epoch(report: EpochReport) -> None:
        hard = report.aps.hard if report.aps else None
        tune.report({"epoch": report.epoch, "epochs": report.epochs, "hard": hard})

    run_task(tasks[config["number"]], on_epoch)


def _one_line(error: BaseException) -> str:
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return lines[0]
