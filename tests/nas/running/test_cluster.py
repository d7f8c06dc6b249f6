"""The Ray executor and the fake one publish the same events for the same trials."""

import os
import subprocess
import sys
import time
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from fake_trials import FakeCluster, hard_ap, make_architecture, make_data, make_task
from ray.exceptions import ActorDiedError, OutOfMemoryError

from nas.running import cluster
from nas.running.nodes import NodeLostError, check_own_processes
from nas.running.tasks import Resources, TrialJob, TrialTask, run_task
from nas.running.tune_callback import _failure
from nas.search.events import TrialEvent
from search_spaces.errors import ConfigError
from trials.result import TrialFailure, TrialFault, load_result

ONE_CORE = Resources(cpus_per_trial=1)
FAULTS = {"raise": {"2": 2}, "kill": {"3": 2}}


@dataclass
class Run:
    """One run of some trials, of which two misbehave, and its events."""

    tasks: list[TrialTask]
    events: list[TrialEvent]

    def events_of(self, number: int) -> list[str]:
        """The kinds of a candidate's events, with the epoch's number."""
        mine = [event for event in self.events if event.number == number]
        return [f"epoch {event.epoch}" if event.kind == "epoch" else event.kind for event in mine]

    def failures(self, number: int) -> list[TrialFailure]:
        return [e.failure for e in self.events if e.number == number and e.failure]


def make_tasks(root: Path, count: int, **faults: Any) -> list[TrialTask]:
    make_data(root / "data", **faults)
    return [make_task(root, number) for number in range(1, count + 1)]


def job(tasks: list[TrialTask], publish: Any = print, **options: Any) -> TrialJob:
    return TrialJob(**{"tasks": tasks, "resources": ONE_CORE, "publish": publish, **options})


@pytest.fixture(scope="module")
def ray_run(ray_cluster: Any, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Starting Ray's workers takes seconds: several tests look at the same run."""
    run = Run(make_tasks(tmp_path_factory.mktemp("ray"), 7, **FAULTS), [])
    ray_cluster.run(job(run.tasks, run.events.append))
    return run


@pytest.fixture
def fake_run(tmp_path: Path) -> Run:
    run = Run(make_tasks(tmp_path, 2, **{"raise": {"2": 2}}), [])
    FakeCluster().run(job(run.tasks, run.events.append))
    return run


@pytest.fixture(params=["ray", "fake"])
def any_run(request: pytest.FixtureRequest) -> Run:
    run: Run = request.getfixturevalue(f"{request.param}_run")
    return run


def test_a_trial_reports_its_epochs_and_finishes(any_run: Run) -> None:
    assert any_run.events_of(1) == ["started", "epoch 1", "epoch 2", "epoch 3", "finished"]
    result = load_result(any_run.tasks[0].folder)
    assert result is not None
    assert result.hard == hard_ap(make_architecture(1))
    evaluated = [(e.epoch, e.hard) for e in any_run.events if e.number == 1 and e.hard]
    assert evaluated == [(3, result.hard)]


def test_tensorboard_finds_the_curves_in_a_trials_folder(ray_run: Run) -> None:
    (log,) = Path(ray_run.tasks[0].folder, "tensorboard").glob("events.*")
    assert all(name in log.read_bytes() for name in (b"loss/total", b"ap/hard"))


def test_a_trial_that_raises_is_retried_and_then_failed(any_run: Run) -> None:
    # The second attempt continues: epoch 1 is not repeated.
    assert any_run.events_of(2) == ["started", "epoch 1", "retried", "started", "failed"]
    failures = any_run.failures(2)
    assert [failure.attempts for failure in failures] == [1, 2]
    assert {failure.reason for failure in failures} == {"ValueError: epoch 2 is not to be"}


def test_a_killed_process_is_retried_from_its_epoch(ray_run: Run) -> None:
    after = ["started", "epoch 2", "epoch 3", "finished"]
    assert ray_run.events_of(3) == ["started", "epoch 1", "retried", *after]
    assert [failure.kind for failure in ray_run.failures(3)] == ["killed"]
    assert "process died" in ray_run.failures(3)[0].reason


def test_failure_has_the_reason_that_ray_knows() -> None:
    memory = _failure(OutOfMemoryError("details\nof many lines"), 2)
    assert (memory.kind, memory.attempts) == ("memory", 2)
    assert _failure(ActorDiedError(), 1).kind == "killed"
    assert _failure(None, 0).reason == "unknown error"
    assert _failure(RuntimeError(" "), 1).reason == "RuntimeError"
    other = _failure(RuntimeError("first line\nlast line"), 1)
    assert (other.kind, other.reason) == ("error", "last line")


def test_other_trials_finish_beside_failing_ones_in_the_same_processes(ray_run: Run) -> None:
    for number in (1, 4, 5, 6, 7):
        assert ray_run.events_of(number)[-1] == "finished"
    # At most five processes: two at first, and one for each of the three failed attempts.
    finished = [task for task in ray_run.tasks if load_result(task.folder)]
    assert len(finished) == 6
    assert len({(Path(task.folder) / "pid").read_text() for task in finished}) < 6


@pytest.mark.parametrize("kind", ["started", "epoch", "retried", "failed", "finished"])
def test_an_exception_of_a_subscriber_stops_the_run(
    tmp_path: Path, ray_cluster: Any, kind: str
) -> None:
    events: list[TrialEvent] = []

    def stop(event: TrialEvent) -> None:
        events.append(event)
        if event.kind == kind:
            raise InterruptedError("enough")

    faults = {"raise": {str(n): 1 for n in range(1, 5)}} if kind in ("retried", "failed") else {}
    tasks = make_tasks(tmp_path, 4, epoch_s=0.3, **faults)
    with pytest.raises(InterruptedError, match="enough"):
        ray_cluster.run(job(tasks, stop, retries=int(kind == "retried")))
    assert [event.kind for event in events].count(kind) == 1
    assert events[-1].kind == kind
    assert sum(load_result(task.folder) is not None for task in tasks) < 4


def test_check_can_stop_a_run_during_an_epoch(tmp_path: Path, ray_cluster: Any) -> None:
    events: list[TrialEvent] = []
    tasks = make_tasks(tmp_path, 2, epoch_s=300.0)

    def stop_when_both_train() -> None:
        if all((Path(task.folder) / "pid").exists() for task in tasks):
            raise InterruptedError("enough")

    begun = time.monotonic()
    with pytest.raises(InterruptedError, match="enough"):
        ray_cluster.run(job(tasks, events.append, check=stop_when_both_train))
    assert {event.kind for event in events} == {"started"}
    assert time.monotonic() - begun < 250
    # The request to stop arrived before the end, so that real trials are on disk.
    assert all((Path(task.folder) / "interrupted").exists() for task in tasks)


def test_cluster_counts_its_resources_and_accepts_an_empty_job(ray_cluster: Any) -> None:
    assert (ray_cluster.cpus, ray_cluster.gpus) == (2.0, 0.0)
    ray_cluster.run(job([]))


def test_a_trial_that_never_fits_is_refused(ray_cluster: Any, tmp_path: Path) -> None:
    too_large = Resources(cpus_per_trial=1, gpus_per_trial=1)
    with pytest.raises(ConfigError, match="--gpus-per-trial must not exceed the 0 that Ray has"):
        ray_cluster.run(job(make_tasks(tmp_path, 1), resources=too_large))


@pytest.mark.slow
def test_ray_writes_nothing_to_standard_output(tmp_path: Path) -> None:
    """In a process of its own, since Ray's output goes past what pytest captures."""
    script = tmp_path / "script.py"
    script.write_text(
        "import sys\n"
        "from pathlib import Path\n"
        "from nas.running.cluster import connected\n"
        "from test_cluster import job, make_tasks\n"
        "with connected(cpus=1) as cluster:\n"
        "    tasks = make_tasks(Path(sys.argv[1]), 1, kill={'1': 1})\n"
        "    cluster.run(job(tasks, lambda event: None))\n"
        "print('done')\n"
    )
    here = str(Path(__file__).parent)
    environment = {**os.environ, "PYTHONPATH": f"{here}:{os.environ['PYTHONPATH']}"}
    command = [sys.executable, str(script), str(tmp_path)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "done\n", "")


@pytest.mark.parametrize(
    ("address", "reason"),
    [("127.0.0.1:9", "refused"), ("somewhere", "Invalid address")],
)
def test_a_cluster_that_does_not_answer_is_reported_at_once(address: str, reason: str) -> None:
    with pytest.raises((OSError, ValueError), match=reason):
        cluster._knock(address)
    with pytest.raises(ConfigError, match=f"no Ray cluster at '{address}' .*`ray start --head`"):
        cluster._start(None, address, None, Path())


@pytest.mark.parametrize(
    ("address", "environment", "has_token", "answer", "mode"),
    [
        ("auto", {}, True, b"RPC error: InvalidAuthToken: ...", "token"),
        ("head:6379", {}, True, b"RPC error: InvalidAuthToken: ...", "token"),
        ("auto", {}, True, b"", None),  # a cluster without tokens
        ("auto", {}, False, b"InvalidAuthToken", None),
        ("auto", {"RAY_AUTH_MODE": "disabled"}, True, b"InvalidAuthToken", "disabled"),
        (None, {}, True, b"InvalidAuthToken", None),
    ],
)
def test_a_token_is_used_only_for_a_cluster_that_requires_one(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    address: str | None,
    environment: dict[str, str],
    has_token: bool,
    answer: bytes,
    mode: str | None,
) -> None:
    def ask(command: list[str], *, env: dict[str, str], **options: Any) -> Any:
        assert command[3:] == ["health-check", *(["--address", "head:6379"] if has_address else [])]
        assert env["RAY_AUTH_MODE"] == "disabled"
        return subprocess.CompletedProcess(command, int(bool(answer)), b"", answer)

    has_address = address == "head:6379"
    monkeypatch.setattr(os, "environ", {"HOME": str(tmp_path), **environment})
    monkeypatch.setattr(cluster, "_connect", lambda address: None)
    monkeypatch.setattr(subprocess, "run", ask)
    if has_token:
        (tmp_path / ".ray").mkdir()
        (tmp_path / ".ray" / "auth_token").write_text("0123")
    cluster._import_ray(address)
    assert os.environ.get("RAY_AUTH_MODE") == mode


@pytest.mark.parametrize("died", ["raylet", "gcs_server", None])
def test_only_the_death_of_a_required_ray_process_is_reported(
    died: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    dead = [("log_monitor", None), *([(died, None)] if died else [])]
    node = SimpleNamespace(dead_processes=lambda: dead)
    monkeypatch.setattr("ray._private.worker._global_node", node)
    with (
        pytest.raises(NodeLostError, match=f"{died} .* the same command continues")
        if died
        else (nullcontext())
    ):
        check_own_processes()
    monkeypatch.setattr("ray._private.worker._global_node", None)  # another machine's Ray
    check_own_processes()


@pytest.mark.parametrize("values", [{"cpus_per_trial": 0}, {"cpus_per_trial": float("nan")}])
def test_impossible_resources_are_refused(values: dict[str, float]) -> None:
    with pytest.raises(ConfigError, match="cpus_per_trial must be from"):
        Resources(**values)


def test_a_broken_task_raises_a_trial_fault(tmp_path: Path) -> None:
    task = make_tasks(tmp_path, 1)[0]
    broken = replace(task, architecture={"backbone": 1})
    with pytest.raises(TrialFault, match="the architecture lacks the keys"):
        run_task(broken, print)


def test_a_ray_that_does_not_start_is_reported_in_one_line() -> None:
    def init(**_: Any) -> None:
        raise Exception("The current node timed out.\nDetails")  # as Ray does

    with pytest.raises(ConfigError, match=r"did not start .*\(The current node timed out\.\)"):
        cluster._start(SimpleNamespace(init=init), None, 2, Path())
