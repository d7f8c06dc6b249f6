"""Machines that lack a requirement of a trial."""

import socket
from dataclasses import replace
from pathlib import Path
from typing import Any

import fake_trials
import pytest
from fake_search import FakeSearch
from fake_trials import FakeDisplay, make_data

from nas.running.node_requirements import MOST_IN_A_ROW, NodeFailures, missing_data
from nas.running.tasks import Resources, TrialJob, TrialTask, run_task
from nas.search.events import TrialEvent
from search_spaces.errors import DataError
from trials.fingerprint import data_fingerprint
from trials.result import TrialFailure, TrialFault, load_result

ONE_CORE = Resources(cpus_per_trial=1)


def make_task(root: Path) -> TrialTask:
    data, witness = make_data(root / "data"), root / "search" / "1.yaml"
    witness.parent.mkdir()
    witness.write_text("here\n")
    found = {"fingerprint": data_fingerprint(data), "witness": str(witness)}
    return fake_trials.make_task(root, epochs=2, folder=str(root / "search" / "1"), **found)


@pytest.mark.parametrize("lost", ["data/val/images", "data/train/labelv2.txt", "search/1.yaml"])
def test_a_trial_starts_only_where_it_finds_data_and_search(tmp_path: Path, lost: str) -> None:
    task = make_task(tmp_path)
    (tmp_path / lost).rename(tmp_path / "gone")
    with pytest.raises(TrialFault) as caught:
        run_task(task, lambda report: None)
    assert caught.value.kind == "node"
    message = f"node {socket.gethostname()} cannot run it: it does not see {tmp_path / lost}; "
    assert str(caught.value).startswith(message)
    assert not Path(task.folder).exists()  # no second search directory appears there
    (tmp_path / "gone").rename(tmp_path / lost)
    run_task(task, lambda report: None)
    assert load_result(task.folder) is not None


def test_data_that_cannot_be_read_are_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stale(root: Any) -> str:
        raise OSError(116, "Stale file handle", "/data/train")

    monkeypatch.setattr("nas.running.node_requirements.data_fingerprint", stale)
    data = make_data(tmp_path / "data")
    expected = "it cannot read /data/train (Stale file handle); see its mount"
    assert missing_data(str(data), "") == expected


def event(kind: Any, failure_kind: str = "node") -> TrialEvent:
    is_failure = kind in ("retried", "failed")
    failure = TrialFailure(reason="node a: blind", kind=failure_kind) if is_failure else None
    return TrialEvent(kind=kind, number=1, failure=failure)


def test_the_search_stops_after_too_many_node_failures() -> None:
    failures = NodeFailures()
    for _ in range(MOST_IN_A_ROW - 1):
        failures(event("retried"))
        failures(event("started"))
    with pytest.raises(DataError, match="10 times in a row a trial found no place: node a: blind"):
        failures(event("retried"))


@pytest.mark.parametrize("progress", ["epoch", "finished"])
def test_the_search_continues_while_trials_make_progress_elsewhere(progress: str) -> None:
    failures = NodeFailures()
    for _ in range(3 * MOST_IN_A_ROW):
        failures(event("retried"))
        failures(event("retried", "killed"))
        failures(event(progress))


def test_a_trial_is_not_recorded_as_failed_for_its_machine(tmp_path: Path) -> None:
    search = FakeSearch(tmp_path, make_data(tmp_path / "data"), asked={"retries": 0})
    labels = search.data / "train" / "labelv2.txt"

    def lose_data(status: Any) -> None:
        if status.finished and labels.exists():
            labels.rename(search.data / "gone")

    search.display.on_show = lose_data
    with pytest.raises(DataError, match=r"a trial found no place: .* does not see"):
        search.begin(3)
    assert list(search.directory.outcomes(1)) == [1]
    search.display = FakeDisplay()
    (search.data / "gone").rename(labels)
    assert search.begin(3).table["state"].tolist() == ["finished"] * 3


@pytest.mark.slow
def test_retries_are_not_spent_on_machines_that_lack_something(
    tmp_path: Path, ray_cluster: Any
) -> None:
    """The data appear after two attempts; after that the trial may still be retried once."""
    task = make_task(tmp_path)
    (tmp_path / "data" / "faults.json").write_text('{"kill": {"1": 1}}')
    labels = tmp_path / "data" / "train" / "labelv2.txt"
    labels.rename(tmp_path / "gone")
    received: list[str] = []

    def receive(event: TrialEvent) -> None:
        received.append(event.failure.kind if event.failure else event.kind)
        if received.count("node") == 2 and not labels.exists():
            (tmp_path / "gone").rename(labels)

    ray_cluster.run(TrialJob(tasks=[task], resources=ONE_CORE, publish=receive, retries=1))
    found = [text for text in received if text != "started"]
    assert found == ["node", "node", "killed", "epoch", "epoch", "finished"]


@pytest.mark.slow
@pytest.mark.parametrize("retries", [0, 1])
def test_an_exception_of_a_subscriber_ends_the_run_unchanged(
    tmp_path: Path, ray_cluster: Any, retries: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("nas.running.node_requirements.MOST_IN_A_ROW", 2)
    task = replace(make_task(tmp_path), witness=str(tmp_path / "nowhere"))
    job = TrialJob(tasks=[task], resources=ONE_CORE, publish=NodeFailures(), retries=retries)
    with pytest.raises(DataError, match=r"a trial found no place: node .* does not see"):
        ray_cluster.run(job)
