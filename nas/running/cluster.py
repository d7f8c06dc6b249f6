"""Connection to Ray, on this machine or a cluster; `nas.running.tune_run` runs trials on it."""

import logging
import os
import secrets
import signal
import socket
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from nas.running.nodes import Node, check_room, nodes_of
from nas.running.signals import ENDING, StopSignal, recording_signals
from nas.running.tasks import Resources, TrialJob
from nas.storage.scratch import scratch_folder
from search_spaces.errors import ConfigError, first_line

# Read by Ray when it is imported or started. Ray's own files and output are turned off: the
# trial's folder holds the metrics, and one display shows the search.
_RAY_ENVIRONMENT = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_AIR_NEW_OUTPUT": "0",
    "RAY_CHDIR_TO_TRIAL_DIR": "0",
    "RAY_prestart_worker_first_driver": "0",  # one process for each core, used or not
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "1",  # a trial without a GPU must not see one
    "RAY_DEDUP_LOGS": "0",
    "MALLOC_ARENA_MAX": "1",  # glibc frees a thread's own arena in every step of a trial
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "TUNE_DISABLE_AUTO_INIT": "1",
    "TUNE_DISABLE_SIGINT_HANDLER": "1",  # `StopSignal` also handles SIGTERM
    "TUNE_GLOBAL_CHECKPOINT_S": "1000000000",  # Tune's own snapshots are never restored
    "TUNE_WARN_SLOW_EXPERIMENT_CHECKPOINT_SYNC_THRESHOLD_S": "1000000000",
}
# Ray's own switch (named after the systems where it is the default) to listen on 127.0.0.1.
_LOOPBACK = {"RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0"}
_OBJECT_STORE_BYTES = 100 << 20  # trials exchange a few kilobytes
_QUIET: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.CRITICAL}
_KNOCK_S = 10.0
# Ray makes the folder that it gets world-writable; this one is inside a private folder.
RAY_FOLDER = "r"
_LONGEST_TEMPORARY = 16  # Ray puts sockets below it, whose paths may have 107 characters


@dataclass(kw_only=True)
class Cluster:
    """Running Ray that this process is connected to (see `connected`).

    Attributes:
        nodes: Machines of the cluster.
        scratch: Temporary folder for Tune's files.
        stop: Signals that arrived.
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

    def slots(self, resources: Resources) -> int:
        """Return the largest number of trials at the same time, at least 1."""
        return max(1, sum(node.room(resources) for node in self.nodes))

    def run(self, job: TrialJob) -> None:
        """Run every task to its end, and publish its events in this process and thread.

        A trial that raises, or whose process dies, is started again up to `job.retries` times
        (and continues from its own checkpoint), counted from its last finished epoch; one that
        diverges, or cannot read its data, only once. An exception of `job.publish` or
        `job.check` and a signal stop all trials.

        Raises:
            ConfigError: No machine of the cluster can hold a trial.
            NodeLostError: The Ray that was started here has died.
            KeyboardInterrupt, Terminated: A signal arrived.
        """
        if job.tasks == []:
            return
        from nas.running.tune_run import TuneRun

        check_room(self.nodes, job.resources)
        slots = self.slots(job.resources)
        TuneRun(job=job, slots=slots, stop=self.stop, scratch=self.scratch).fit()


@contextmanager
def connected(address: str | None = None, cpus: int | None = None) -> Iterator[Cluster]:
    """Start Ray on this machine (loopback only), or join the cluster at `address`.

    While connected, SIGINT, SIGTERM and SIGHUP stop `Cluster.run`. On exit the trials of this
    driver end, and so does Ray itself if it was started here.

    Args:
        address: None (this machine), `auto`, or `host:port` of a running cluster.
        cpus: Cores for a local Ray; None: all cores of this process.

    Raises:
        ConfigError: There is no cluster at `address`, or no temporary folder.
    """
    ray = _import_ray(address)
    with scratch_folder(Path(_temporary_root())) as scratch:
        try:
            with recording_signals() as stop, _without_ray_output(scratch):
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore", FutureWarning)  # about later versions of Ray
                    _start(ray, address, cpus, scratch)
                stop.arm()
                yield Cluster(nodes=nodes_of(ray.nodes()), scratch=scratch, stop=stop)
                stop.check()  # of a signal after the last trial
        finally:
            ray.shutdown()


def _import_ray(address: str | None) -> Any:
    environment = _RAY_ENVIRONMENT if address else _RAY_ENVIRONMENT | _LOOPBACK | _own_token()
    if address and "RAY_AUTH_MODE" not in os.environ and _has_token() and _wants_token(address):
        environment = environment | {"RAY_AUTH_MODE": "token"}
    for name, value in environment.items():
        os.environ.setdefault(name, value)
    import ray

    logging.getLogger("ray").setLevel(logging.CRITICAL)  # its errors arrive as events
    return ray


def _own_token() -> dict[str, str]:
    """Return a token for a Ray that starts here, if it cannot write one into the home folder."""
    if _has_token() or os.access(Path.home(), os.W_OK):
        return {}
    return {"RAY_AUTH_TOKEN": secrets.token_hex()}


def _has_token() -> bool:
    """Return whether Ray would find a token."""
    named = any(os.environ.get(name) for name in ("RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"))
    return named or (Path.home() / ".ray" / "auth_token").is_file()


def _wants_token(address: str) -> bool:
    """Return whether the cluster refuses connections without a token.

    Asked in a separate process: Ray takes its mode when it is imported, and a driver with a
    token cannot talk to the workers of a cluster without one.
    """
    command = [sys.executable, "-m", "ray.scripts.scripts", "health-check"]
    if address != "auto":
        try:
            _connect(address)  # Ray itself would wait for minutes
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
        with _blocking_ending_signals():
            ray.init(
                address="local",
                num_cpus=cpus or len(os.sched_getaffinity(0)),
                include_dashboard=False,
                object_store_memory=_OBJECT_STORE_BYTES,
                _temp_dir=str(scratch / RAY_FOLDER),
                **_QUIET,
            )
    except Exception as error:  # a bare one if the machine is too busy to start it in time
        rule = "Ray did not start on this machine"
        hint = "see whether it is out of memory, disk or processor time, and try again"
        raise ConfigError(f"{rule} ({first_line(error)}); {hint}") from error


@contextmanager
def _blocking_ending_signals() -> Iterator[None]:
    """Block SIGTERM and SIGHUP in the processes started in the block, and in their children.

    All processes of a job get them at once. Only the driver handles them: it needs Ray and the
    trials a little longer, and then ends them.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, ENDING)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _knock(address: str) -> None:
    """Check quickly whether the address answers: Ray itself would try for many minutes.

    Raises:
        OSError, ValueError: It does not answer, or is no address.
    """
    if "://" in address:  # a Ray client, which has a time limit of its own
        return
    from ray._private.services import canonicalize_bootstrap_address_or_die

    _connect(canonicalize_bootstrap_address_or_die(address))


def _connect(address: str) -> None:
    host, _, port = address.rpartition(":")
    with socket.create_connection((host.strip("[]"), int(port)), timeout=_KNOCK_S):
        pass


def _temporary_root() -> str:
    """Return $TMPDIR or its default if it is short enough, else /tmp.

    Raises:
        ConfigError: Neither can be written to.
    """
    with suppress(FileNotFoundError):  # no folder can be written to, or has space
        for root in (tempfile.gettempdir(), "/tmp"):
            if len(root) <= _LONGEST_TEMPORARY and os.access(root, os.W_OK | os.X_OK):
                return root
    raise ConfigError(
        "Ray needs a temporary folder with free space that can be written to, and whose path has "
        f"at most {_LONGEST_TEMPORARY} characters: set TMPDIR to one"
    )


@contextmanager
def _without_ray_output(scratch: Path) -> Iterator[None]:
    """Redirect what Ray prints about dead workers: standard output belongs to the result."""
    with (scratch / "ray.txt").open("w", encoding="utf-8") as sink, redirect_stdout(sink):
        yield
