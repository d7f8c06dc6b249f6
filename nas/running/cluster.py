"""Connecting to Ray, on this machine or a cluster (what runs there: `nas.running.tune_run`)."""

import logging
import os
import signal
import socket
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, redirect_stdout, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from nas.early_stopping.asha import RungRecords
from nas.recording.tracking import Tracking
from nas.running.nodes import Node, check_room, default_resources, nodes_of
from nas.running.signals import StopSignal, noting_signals
from nas.running.tasks import Resources, TrialTask
from nas.search.events import TrialEvent
from nas.storage.scratch import scratch_folder
from search_spaces.errors import ConfigError, first_line

# Read by Ray when it is imported or started. Its own files and output are not wanted: the
# trial's folder holds the metrics, and one display shows the search.
_RAY_ENVIRONMENT = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_AIR_NEW_OUTPUT": "0",
    "RAY_CHDIR_TO_TRIAL_DIR": "0",
    "RAY_prestart_worker_first_driver": "0",  # a process a core, whether trials use it or not
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
_QUIET: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.CRITICAL}
_KNOCK_S = 10.0
_LONGEST_TEMPORARY = 30  # Ray puts sockets below it, whose paths may have 107 characters


@dataclass(kw_only=True)
class Cluster:
    """A running Ray that this process is connected to (see `connected`).

    Attributes:
        nodes: its machines.
        scratch: a temporary folder for Tune's bookkeeping.
    """

    nodes: tuple[Node, ...]
    scratch: Path
    stop: StopSignal = field(repr=False)

    @property
    def cpus(self) -> float:
        """Cores of all machines."""
        return sum(node.cpus for node in self.nodes)

    @property
    def gpus(self) -> float:
        """GPUs of all machines."""
        return sum(node.gpus for node in self.nodes)

    def default_resources(self, num_trials: int) -> Resources:
        """A GPU a trial where there are GPUs; otherwise the cores shared among the trials."""
        return default_resources(self.nodes, num_trials)

    def check(self, resources: Resources) -> None:
        """Refuse a trial that fits on no machine. Raises ConfigError."""
        check_room(self.nodes, resources)

    def slots(self, resources: Resources) -> int:
        """Trials that fit at the same time, at most."""
        return max(1, sum(node.room(resources) for node in self.nodes))

    def run(
        self,
        tasks: Sequence[TrialTask],
        resources: Resources,
        *,
        on_event: Callable[[TrialEvent], None],
        retries: int = 1,
        more: Callable[[], TrialTask | None] | None = None,
        records: RungRecords | None = None,
        on_step: Callable[[], None] | None = None,
        tracking: Tracking | None = None,
    ) -> None:
        """Run every task to its end; `on_event` hears of each, in this process and thread.

        A trial that raises, or whose process dies, is started again up to `retries` times
        (and continues from its own checkpoint), counted anew after each epoch that it has
        finished; one that diverges, or cannot read its data, only once. An exception of
        `on_event` or `on_step`, Ctrl-C and SIGTERM stop all trials.

        Args:
            tasks: all that there is to do, unless `more` is given.
            resources: of one trial.
            on_event: the listener.
            retries: of one trial between two finished epochs.
            more: names the next task whenever a trial can start, None at the end. It is
                asked in this process, after `on_event` has heard of all that is over.
            records: curves and decisions so far, by which trials stop early; None: none does.
            on_step: is called again and again, many times a minute, also between events.
            tracking: where trials are shown, besides.

        Raises:
            ConfigError: no machine of the cluster can hold a trial.
            NodeLostError: the Ray that was started here has died.
            KeyboardInterrupt, Terminated: stopped by a signal.
        """
        if not tasks and more is None:
            return
        from nas.running.tune_run import TuneRun

        self.check(resources)
        TuneRun(
            tasks=tasks,
            more=more,
            resources=resources,
            slots=self.slots(resources),
            retries=retries,
            records=records,
            on_event=on_event,
            on_step=on_step,
            stop=self.stop,
            scratch=self.scratch,
            tracking=tracking,
        ).fit()


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
    with scratch_folder(Path(_temporary_root())) as scratch:
        try:
            with noting_signals() as stop, _without_ray_output(scratch):
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore", FutureWarning)  # what a later Ray will do
                    _start(ray, address, cpus, scratch)
                stop.arm()
                yield Cluster(nodes=nodes_of(ray.nodes()), scratch=scratch, stop=stop)
        finally:
            ray.shutdown()


def _import_ray(address: str | None) -> Any:
    environment = _RAY_ENVIRONMENT if address else _RAY_ENVIRONMENT | _LOOPBACK
    if address and "RAY_AUTH_MODE" not in os.environ and _has_token() and _wants_token(address):
        environment = environment | {"RAY_AUTH_MODE": "token"}
    for name, value in environment.items():
        os.environ.setdefault(name, value)
    import ray

    logging.getLogger("ray").setLevel(logging.CRITICAL)  # its errors reach us as events
    return ray


def _has_token() -> bool:
    """Whether Ray would find a token where it looks for one."""
    named = any(os.environ.get(name) for name in ("RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"))
    return named or (Path.home() / ".ray" / "auth_token").is_file()


def _wants_token(address: str) -> bool:
    """Whether the cluster answers nobody without one.

    Asked in a process of its own: Ray takes its mode when it is imported, and a driver with a
    token is deaf to the workers of a cluster without.
    """
    command = [sys.executable, "-m", "ray.scripts.scripts", "health-check"]
    if address != "auto":
        try:
            _connect(address)  # for minutes, Ray would wait for one that is not there
        except (OSError, ValueError):
            return False
        command += ["--address", address]
    environment = os.environ | {"RAY_AUTH_MODE": "disabled"}
    with suppress(subprocess.TimeoutExpired):
        done = subprocess.run(
            command, env=environment, capture_output=True, timeout=_KNOCK_S, check=False
        )
        return done.returncode != 0 and b"InvalidAuthToken" in done.stderr
    return False


def _start(ray: Any, address: str | None, cpus: int | None, scratch: Path) -> None:
    if address is None:
        _start_here(ray, cpus, scratch)
        return
    try:
        _knock(address)
        ray.init(address=address, **_QUIET)
    except (OSError, ValueError, RuntimeError) as error:
        hint = "start one with `ray start --head`, or leave --ray-address out; a cluster that "
        hint += "asks for a token (Ray 2.60 does) wants the head's ~/.ray/auth_token here too"
        raise ConfigError(f"no Ray cluster at {address!r} ({first_line(error)}); {hint}") from error


def _start_here(ray: Any, cpus: int | None, scratch: Path) -> None:
    try:
        with _deaf_children():
            ray.init(
                address="local",
                num_cpus=cpus or len(os.sched_getaffinity(0)),
                include_dashboard=False,
                object_store_memory=_OBJECT_STORE_BYTES,
                _temp_dir=str(scratch),
                **_QUIET,
            )
    except Exception as error:  # a bare one, where the machine is too busy to start it in time
        rule = "Ray did not start on this machine"
        hint = "see whether it is out of memory, disk or processor time, and try again"
        raise ConfigError(f"{rule} ({first_line(error)}); {hint}") from error


@contextmanager
def _deaf_children() -> Iterator[None]:
    """Processes started in the block, and theirs, do not hear SIGTERM.

    Service managers and schedulers send it to all processes of a job at once. It is for the
    driver, which needs Ray and the trials a little longer, and then ends them.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _knock(address: str) -> None:
    """Find out quickly whether anybody answers: Ray itself would try for many minutes.

    Raises:
        OSError, ValueError: nobody does, or it is no address.
    """
    if "://" in address:  # of a Ray client, which has a time limit of its own
        return
    from ray._private.services import canonicalize_bootstrap_address_or_die

    _connect(canonicalize_bootstrap_address_or_die(address))


def _connect(address: str) -> None:
    host, _, port = address.rpartition(":")
    with socket.create_connection((host.strip("[]"), int(port)), timeout=_KNOCK_S):
        pass


def _temporary_root() -> str:
    root = tempfile.gettempdir()
    return root if len(root) <= _LONGEST_TEMPORARY else "/tmp"


@contextmanager
def _without_ray_output(scratch: Path) -> Iterator[None]:
    """Ray prints its workers' deaths to standard output, which belongs to the result."""
    with (scratch / "ray.txt").open("w", encoding="utf-8") as sink, redirect_stdout(sink):
        yield
