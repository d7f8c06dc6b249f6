from dataclasses import replace
from typing import Any

import pytest
from fake_trials import make_architecture, make_request

from nas.early_stopping.schedule import Schedule
from nas.planning.plan import Pace, Work, expected_epochs, make_plan, makespan
from nas.planning.plan_measuring import this_machine, typical
from nas.running.nodes import Node, choose_resources
from nas.running.tasks import Resources
from search_spaces.cost.detector import params_by_part, total
from search_spaces.errors import ConfigError

FIFO = Schedule(epochs=10)
PACE = Pace(
    images_per_second=50.0,
    evaluation_s=0.1,
    weights_bytes=1000,
    optimizer_copies=3,
    basis="by hand",
)
ALONE = Resources(cpus_per_trial=2)


def make_work(schedule: Schedule = FIFO, done: dict[int, int] | None = None, **other: Any) -> Work:
    values: dict[str, Any] = {
        "candidates": 4,
        "feasible": 12,
        "draws": 1000,
        "accepted": 8,
        "training_images": 200,
        "validation_images": 30,
        "evaluations": 2,
    }
    done = dict.fromkeys(range(1, 5), 0) if done is None else done
    return Work(schedule=schedule, done=done, **{**values, **other})


def test_the_arithmetic_of_a_plan() -> None:
    plan = make_plan(make_work(), PACE, ALONE, slots=2)
    # 10 epochs of 200 images at 50 a second, and 2 evaluations of 30 images of 0.1 s.
    assert plan.trial_s == 10 * 200 / 50 + 2 * 30 * 0.1 == 46.0
    assert plan.epochs == 40
    assert plan.images == 40 * 200
    assert plan.trial_hours == pytest.approx(4 * 46 / 3600)
    assert plan.cpu_hours == pytest.approx(2 * 4 * 46 / 3600)
    assert plan.wall_s == pytest.approx(2 * 46)  # two at a time
    assert plan.disk_bytes == 4 * (1000 * (1 + 3) + 1000)  # last.pt and best.pt
    assert plan.work.acceptance == 0.008
    assert not plan.uses_gpus
    assert plan.device_hours == plan.trial_hours


def test_gpu_hours_count_the_share_of_a_trial() -> None:
    resources = Resources(cpus_per_trial=1, gpus_per_trial=0.25)
    plan = make_plan(make_work(), PACE, resources, slots=4)
    assert plan.uses_gpus
    assert plan.device_hours == pytest.approx(0.25 * 4 * 46 / 3600)
    assert plan.to_dict()["gpu_hours"] == plan.device_hours


def test_epochs_done_are_subtracted() -> None:
    # Of 4, one has an outcome and one has finished 6 of 10 epochs.
    plan = make_plan(make_work(done={2: 6, 3: 0, 4: 0}), PACE, ALONE, slots=1)
    assert plan.epochs == 24
    assert plan.wall_s == pytest.approx(2.4 * 46)
    assert plan.disk_bytes == 4 * 5000
    finished = make_plan(make_work(done={}), PACE, ALONE, slots=1)
    assert (finished.epochs, finished.wall_s, finished.device_hours) == (0, 0, 0)


def test_makespan() -> None:
    assert makespan([3, 1, 1, 1], slots=2) == 3
    assert makespan([1, 1, 3], slots=2) == 4
    assert makespan([46] * 5, slots=2) == 3 * 46
    assert makespan([], slots=3) == 0


def test_expected_epochs_of_a_scheduler() -> None:
    asha = Schedule(epochs=9, scheduler="asha")
    epochs, basis = expected_epochs(asha, [9] * 17, slots=1)
    assert 16 * 1 + 9 < epochs < 17 * 9 * 0.6
    assert basis.startswith("expected: asha replayed")
    complete = Schedule(epochs=9, scheduler="asha", rungs="complete")
    assert expected_epochs(complete, [9] * 9, slots=1)[0] == 9 * 1 + 3 * 2 + 1 * 6
    assert expected_epochs(FIFO, [10, 4], slots=1) == (14, "")


def test_a_plan_is_plain_data() -> None:
    plan = make_plan(make_work(draws=0, accepted=0, feasible=None), PACE, ALONE, slots=2)
    content = plan.to_dict()
    assert (content["acceptance"], content["feasible"]) == (None, None)
    assert content["wall_s"] == plan.wall_s
    assert content["pace_basis"] == "by hand"
    assert content["gpu_hours"] == 0.0
    assert content["max_gpu_hours_counts"] == plan.trial_hours


@pytest.mark.parametrize(
    "change",
    [{"images_per_second": 0.0}, {"images_per_second": float("nan")}, {"evaluation_s": -1.0}],
)
def test_a_pace_is_positive(change: dict[str, float]) -> None:
    with pytest.raises(ConfigError):
        replace(PACE, **change)


def test_given_resources_replace_the_default_ones() -> None:
    node = Node(cpus=16, gpus=2)
    assert choose_resources([node], make_request(), 64) == Resources(
        cpus_per_trial=8, gpus_per_trial=1
    )
    given = {"gpus_per_trial": 0.5, "cpus_per_trial": 4}
    assert choose_resources([node], make_request(**given), 64) == Resources(**given)


def test_more_gpus_come_with_more_cores() -> None:
    here = this_machine()
    assert this_machine(gpus=int(here.gpus)) == here
    more = this_machine(gpus=8)
    assert more.gpus == 8
    assert more.cpus == here.cpus * (8 // max(here.gpus, 1))


def test_candidates_are_spread_over_the_order_of_their_parameters() -> None:
    architectures = [make_architecture(depth) for depth in (5, 1, 3, 2, 4)]
    ordered = sorted(architectures, key=lambda item: total(params_by_part(item)))
    assert typical(architectures, 1) == [ordered[2]]
    assert typical(architectures, 3) == [ordered[0], ordered[2], ordered[4]]
    assert typical(architectures, 9) == ordered
