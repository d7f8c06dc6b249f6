"""Final training in this process and by a group of workers."""

import shutil
import struct
from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from ray.exceptions import RayActorError
from tiny import TINY, make_report, make_result

from nas.recording.tensorboard import tensorboard_log
from nas.running.cluster import Cluster, StopSignal
from nas.running.distributed import WorkerGroup, _fault_of
from nas.running.final_training import (
    FinalTraining,
    MetricsFollower,
    _task,
    choose_group,
    train,
    training_folder,
)
from nas.running.nodes import Node
from nas.running.tasks import run_task
from search_spaces.architecture import Neck, save_architecture
from search_spaces.errors import ConfigError, DataError, IncomparableError
from search_spaces.network.detector import build_detector
from search_spaces.zoo import load_zoo
from trials.candidate import resolve_candidate
from trials.data.generated.generate import generate
from trials.model_file import save_model
from trials.recipe import Recipe
from trials.result import TrialFault, load_result, save_outcome
from trials.settings import TrialSettings
from trials.training.metrics import write_metrics
from trials.training.schedule import learning_rate
from trials.trial import Callbacks, Trial, claim

RECIPE = Recipe(batch_size=2)
SETTINGS = TrialSettings(epochs=2, image_size=64, device="cpu", threads=1, eval_every=1)
RESULT = make_result(0.3, epochs=2)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("set") / "faces"
    generate(root, num_train=4, num_val=2, seed=0, long_side=(96, 128))
    return root


def make_trial(data: Path, workers: int = 1) -> Trial:
    settings = replace(SETTINGS, workers=workers)
    return Trial(architecture=TINY, recipe=RECIPE, data_root=data, settings=settings)


def make_training(data: Path, folder: Path, workers: int = 1) -> FinalTraining:
    group = WorkerGroup(count=workers)
    return FinalTraining(trial=make_trial(data, workers), folder=folder, group=group)


def no_ray(address: str | None) -> AbstractContextManager[Cluster]:
    raise AssertionError("Ray must not be started")


def test_the_reference_recipe_drops_at_epochs_440_and_544_of_640() -> None:
    """And warms up over 1500 iterations, with WIDER FACE on eight workers: 202 an epoch."""
    steps = 202
    rates = [learning_rate(Recipe(), steps * epoch, steps * 640) for epoch in range(640)]
    assert [epoch for epoch in range(20, 640) if rates[epoch] != rates[epoch - 1]] == [440, 544]
    assert rates[439:441] + rates[543:545] == pytest.approx([0.01, 0.001, 0.001, 0.0001])
    assert learning_rate(Recipe(), 1499, steps * 640) < 0.01
    assert learning_rate(Recipe(), 1500, steps * 640) == 0.01


def test_a_candidate_is_a_name_a_file_or_a_folder_of_a_trial(tmp_path: Path) -> None:
    folder = tmp_path / "stage2" / "0007"
    folder.mkdir(parents=True)
    with pytest.raises(ConfigError, match=r"holds no candidate, neither architecture\.yaml nor"):
        resolve_candidate(str(folder))
    save_model(folder / "best.pt", TINY, build_detector(TINY).state_dict())
    assert resolve_candidate(str(folder)) == TINY
    other = replace(TINY, neck=Neck(width=12))
    save_architecture(other, folder / "architecture.yaml")
    for reference in (folder, folder / "architecture.yaml"):
        assert resolve_candidate(str(reference)).content_hash == other.content_hash
    assert resolve_candidate("scrfd_0.5g") == load_zoo("scrfd_0.5g")
    with pytest.raises(ConfigError, match="neither a file nor a built-in"):
        resolve_candidate(str(tmp_path / "none"))


@pytest.mark.parametrize(
    ("gpus", "workers", "expected"),
    [
        (None, None, (WorkerGroup(count=1), "auto")),
        (None, 2, (WorkerGroup(count=2), "cpu")),
        (1, None, (WorkerGroup(count=1, gpus=True), "cuda")),
        (4, None, (WorkerGroup(count=4, gpus=True), "cuda")),
    ],
)
def test_either_gpus_or_workers_choose_a_group(
    gpus: int | None, workers: int | None, expected: tuple[WorkerGroup, str]
) -> None:
    assert choose_group(gpus, workers) == expected
    with pytest.raises(ConfigError, match="give one of them, got 4 and 2"):
        choose_group(4, 2)


def cluster(cpus: float, gpus: float, tmp_path: Path) -> Cluster:
    return Cluster(nodes=(Node(cpus=cpus, gpus=gpus),), scratch=tmp_path, stop=StopSignal())


def test_workers_share_the_cores_and_must_not_be_more(tmp_path: Path) -> None:
    resources = WorkerGroup(count=2).resources(cluster(5, 0, tmp_path))
    assert (resources.cpus_per_trial, resources.gpus_per_trial) == (2, 0)
    # Half of the machine's GPUs come with half of its cores.
    resources = WorkerGroup(count=2, gpus=True).resources(cluster(32, 4, tmp_path))
    assert (resources.cpus_per_trial, resources.gpus_per_trial) == (8, 1)
    with pytest.raises(ConfigError, match="--gpus must not exceed the 1 GPUs that Ray has, got 4"):
        WorkerGroup(count=4, gpus=True).resources(cluster(2, 1, tmp_path))


def test_a_single_worker_trains_here_and_reports_every_epoch(data: Path, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    epochs: list[int] = []
    steps: list[tuple[int, int]] = []
    result = train(
        make_training(data, folder),
        Callbacks(
            on_epoch=lambda report: epochs.append(report.epoch),
            on_step=lambda done, total: steps.append((done, total)),
        ),
        connect=no_ray,
    )
    assert epochs == [1, 2]
    assert steps == [(1, 4), (2, 4), (3, 4), (4, 4)]
    assert result.epochs == 2
    found = dict(read_scalars(folder / "tensorboard"))
    assert found[("loss/total", 2)] == pytest.approx(result.loss, rel=1e-6)
    assert found[("ap/hard", 2)] == pytest.approx(result.hard, abs=1e-6)
    assert ("ap/hard", 1) in found
    # `best.pt` is a model file: a candidate for every other command.
    assert resolve_candidate(str(folder)).content_hash == TINY.content_hash
    content = torch.load(folder / "best.pt", weights_only=True)
    assert content["meta"]["epoch"] in (1, 2)


def test_a_worker_runs_its_task_as_a_search_would(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import ray.train.torch

    monkeypatch.setattr(ray.train.torch, "get_device", lambda: torch.device("cpu"))
    training = make_training(data, tmp_path / "run")
    run_task(_task(training, threads=1), lambda report: None)
    result = load_result(tmp_path / "run")
    assert result is not None
    assert result.epochs == 2


def test_a_finished_group_is_not_run_again(data: Path, tmp_path: Path) -> None:
    claim(tmp_path, make_trial(data, workers=2).request())
    save_outcome(RESULT, tmp_path)
    assert train(make_training(data, tmp_path, workers=2), connect=no_ray) == RESULT


def test_a_group_that_cannot_start_is_refused_and_leaves_nothing(
    data: Path, tmp_path: Path
) -> None:
    three = make_training(data, tmp_path / "run", workers=3)
    with pytest.raises(ConfigError, match="--workers must not exceed the 2 cores that Ray has"):
        train(three, connect=lambda address: nullcontext(cluster(2, 0, tmp_path)))
    copy = shutil.copytree(data, tmp_path / "set")
    (copy / "val" / "gt" / "wider_face_val.mat").unlink()
    with pytest.raises(DataError, match=r"wider_face_val\.mat"):
        train(make_training(copy, tmp_path / "run", workers=2), connect=no_ray)
    assert not (tmp_path / "run").exists()
    claim(tmp_path / "run", make_trial(data, workers=2).request())
    with pytest.raises(IncomparableError, match=r"settings\.workers: 2 -> 3"):
        train(three, connect=no_ray)


def test_the_default_folder_belongs_to_the_request(data: Path) -> None:
    one, two = (training_folder(make_trial(data, n)) for n in (1, 2))
    assert one.parent == Path("runs/train")
    assert one.name.startswith("tiny-")
    assert one != two


def test_a_follower_reads_each_epoch_once_also_from_a_shortened_file(tmp_path: Path) -> None:
    first, second, third = make_report(1, 3), make_report(2, 3), make_report(3, 3, 0.125)
    missing = MetricsFollower(tmp_path / "missing", epochs=3)
    assert missing.new_reports() == []
    write_metrics([first], tmp_path)  # of an earlier run
    follower = MetricsFollower(tmp_path, epochs=3)
    for written, new in (
        ([first], []),
        ([first, second], [second]),
        ([first], []),  # after a damaged checkpoint, epoch 2 is repeated
        ([first, second, third], [third]),
        ([first, second, third], []),
    ):
        write_metrics(written, tmp_path)
        assert follower.new_reports() == new


class GroupError(Exception):
    """Like Ray Train's."""

    def __init__(self, failures: dict[int, BaseException]) -> None:
        self.worker_failures = failures


def test_the_fault_of_a_group_is_the_cause_not_the_lost_connection() -> None:
    lost = TrialFault("RuntimeError: connection closed by peer")
    cause = TrialFault("the loss must be finite", kind="diverged", epoch=3)
    assert _fault_of(GroupError({0: lost, 1: cause})) is cause
    assert _fault_of(GroupError({0: lost, 1: lost})) is lost
    assert _fault_of(GroupError({0: lost, 1: RayActorError()})).kind == "killed"
    assert _fault_of(ValueError("strange")).message == "ValueError: strange"


def test_a_log_begins_with_the_first_epoch_and_a_continued_one_adds_to_it(tmp_path: Path) -> None:
    with tensorboard_log(tmp_path):
        pass
    assert list(tmp_path.iterdir()) == []
    for epoch in (1, 2):
        with tensorboard_log(tmp_path) as log:
            log(make_report(epoch, 3))
    found = dict(read_scalars(tmp_path / "tensorboard"))
    assert {step for _, step in found} == {1, 2}
    assert found[("train/learning_rate", 1)] == pytest.approx(0.01)
    assert found[("loss/keypoints", 2)] == 0.25
    assert not any(tag.startswith("ap/") for tag, _ in found)


def read_scalars(folder: Path) -> Iterator[tuple[tuple[str, int], float]]:
    """Yield (tag, step) and value of every scalar in TensorFlow's record files."""
    from tensorboardX.proto.event_pb2 import Event

    for path in sorted(folder.iterdir()):
        content = path.read_bytes()
        while content:
            (length,) = struct.unpack("<Q", content[:8])
            event: Any = Event.FromString(content[12 : 12 + length])
            content = content[16 + length :]
            for value in event.summary.value:
                yield (value.tag, event.step), value.simple_value
