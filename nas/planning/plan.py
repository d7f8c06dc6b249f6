"""What a stage would cost, before anything is spent: arithmetic on counts and a measured pace.

Nothing here trains; `nas.planning.plan_measuring` times some steps. Every figure that is an
estimate has its basis in words beside it.
"""

import heapq
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from nas.early_stopping.schedule import Schedule
from nas.planning.recording import Recording
from nas.planning.replay import random_order, replay
from nas.running.tasks import Resources
from nas.search.budget import devices_of
from search_spaces.checks import require_integer, require_number

EXPECTATION_REPLAYS = 20
# Of a training image's time, what an evaluated one takes where that was not measured:
# forward is a third of forward and backward.
EVALUATED_SHARE = 1 / 3


@dataclass(frozen=True, kw_only=True)
class Pace:
    """How fast one trial is while as many run beside it as will in the search.

    Attributes:
        images_per_second: training images.
        evaluation_s: of one validation image, from its file to its detections.
        weights_bytes: a trial's weights in a file.
        optimizer_copies: how often a checkpoint holds as much again, for the optimiser and the
            moving average.
        basis: where the figures come from.
    """

    images_per_second: float
    evaluation_s: float
    weights_bytes: int
    optimizer_copies: int
    basis: str

    def __post_init__(self) -> None:
        require_number(self.images_per_second, "images per second", 1e-9)
        require_number(self.evaluation_s, "seconds an evaluated image", 0)


@dataclass(frozen=True, kw_only=True)
class Work:
    """What there is to do.

    Attributes:
        candidates: of the stage, those with an outcome included.
        feasible: architectures that satisfy the constraints, None if uncounted.
        draws, accepted: of rejection sampling; 0 where the space is enumerated.
        schedule: which trials end early.
        done: epochs that each candidate has behind it, by number; those with an outcome
            are left out. Its length is that of the trials to run.
        training_images, validation_images: of an epoch and of an evaluation.
        evaluations: of a trial that is trained to the end.
    """

    candidates: int
    feasible: int | None
    draws: int
    accepted: int
    schedule: Schedule
    done: Mapping[int, int]
    training_images: int
    validation_images: int
    evaluations: int

    @property
    def trials(self) -> int:
        """Trials to run or to continue."""
        return len(self.done)

    @property
    def acceptance(self) -> float | None:
        """Share of the sampler's draws that satisfied the constraints."""
        return self.accepted / self.draws if self.draws else None


@dataclass(frozen=True, kw_only=True)
class Plan:
    """A stage's cost.

    Attributes:
        work, pace: what it follows from.
        resources: of each trial.
        slots: trials that run at the same time.
        epochs: to train, over all trials; expected ones where a scheduler ends trials.
        epochs_basis: what the expectation assumes; empty where nothing is assumed.
        trial_s: training and evaluation of a trial to its end.
        trial_hours: of all trials, one after the other.
        wall_s: from the first trial's start to the last one's end.
        disk_bytes: of the trials' checkpoints when all have ended.
    """

    work: Work
    pace: Pace
    resources: Resources
    slots: int
    epochs: float
    epochs_basis: str
    trial_s: float
    trial_hours: float
    wall_s: float
    disk_bytes: int

    @property
    def images(self) -> float:
        """Training images that the trials see."""
        return self.epochs * self.work.training_images

    @property
    def uses_gpus(self) -> bool:
        """Whether trials have a share of a GPU."""
        return self.resources.gpus_per_trial > 0

    @property
    def device_hours(self) -> float:
        """What `--max-gpu-hours` counts (see `nas.search.budget`)."""
        return devices_of(self.resources.gpus_per_trial) * self.trial_hours

    @property
    def cpu_hours(self) -> float:
        """Hours of the cores that trials set aside."""
        return self.resources.cpus_per_trial * self.trial_hours

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON data."""
        work = self.work
        return {
            "candidates": work.candidates,
            "feasible": work.feasible,
            "acceptance": work.acceptance,
            "draws": work.draws,
            "trials_to_run": work.trials,
            "epochs_each": work.schedule.epochs,
            "epochs_done": sum(work.done.values()),
            "epochs": self.epochs,
            "epochs_basis": self.epochs_basis,
            "training_images": work.training_images,
            "validation_images": work.validation_images,
            "evaluations_each": work.evaluations,
            "images": self.images,
            **{f"pace_{key}": value for key, value in asdict(self.pace).items()},
            "slots": self.slots,
            "cpus_per_trial": self.resources.cpus_per_trial,
            "gpus_per_trial": self.resources.gpus_per_trial,
            "trial_s": self.trial_s,
            "trial_hours": self.trial_hours,
            "gpu_hours": self.device_hours if self.uses_gpus else 0.0,
            "cpu_hours": self.cpu_hours,
            "max_gpu_hours_counts": self.device_hours,
            "wall_s": self.wall_s,
            "disk_bytes": self.disk_bytes,
        }


def make_plan(work: Work, pace: Pace, resources: Resources, slots: int) -> Plan:
    """The arithmetic.

    Raises:
        ConfigError: `slots` is below 1.
    """
    require_integer(slots, "slots", 1)
    whole = work.schedule.epochs
    evaluation_s = work.evaluations * work.validation_images * pace.evaluation_s
    trial_s = whole * work.training_images / pace.images_per_second + evaluation_s
    epoch_s = trial_s / whole
    left = [whole - done for _, done in sorted(work.done.items())]
    epochs, basis = expected_epochs(work.schedule, left, slots)
    wall = max(makespan(left, slots) if not basis else epochs / slots, max(left, default=0))
    return Plan(
        work=work,
        pace=pace,
        resources=resources,
        slots=slots,
        epochs=epochs,
        epochs_basis=basis,
        trial_s=trial_s,
        trial_hours=epochs * epoch_s / 3600,
        wall_s=wall * epoch_s,
        disk_bytes=work.candidates * _checkpoint_bytes(pace),
    )


def expected_epochs(schedule: Schedule, left: Sequence[int], slots: int) -> tuple[float, str]:
    """Epochs that the trials will take, and what that assumes (empty: nothing).

    Args:
        schedule: which trials end early.
        left: epochs that each trial has before it, if it is not ended.
        slots: trials that run at the same time.
    """
    if not schedule.stops_trials or len(left) < 2:
        return float(sum(left)), ""
    share = _replayed_epochs(schedule, len(left), slots) / (schedule.epochs * len(left))
    basis = f"expected: {schedule.scheduler} replayed on ranks that never change, in random order"
    return share * sum(left), basis


def makespan(lengths: Sequence[float], slots: int) -> float:
    """When the last of some jobs ends, each started in order when a slot is free."""
    ends = [0.0] * slots
    for length in lengths:
        heapq.heapreplace(ends, ends[0] + length)
    return max(ends)


def _replayed_epochs(schedule: Schedule, trials: int, slots: int) -> float:
    """Mean epochs of a search over `trials` candidates with curves that never cross."""
    epochs = (*schedule.milestones, schedule.epochs)
    # With the digits of `metrics.csv`.
    hard = {n: dict.fromkeys(epochs, round(n / trials, 6)) for n in range(1, trials + 1)}
    recording = Recording(epochs=schedule.epochs, architectures={}, hard=hard)
    repeats = 1 if schedule.is_complete else EXPECTATION_REPLAYS  # rounds need no order
    orders = [random_order(recording, 0, repeat) for repeat in range(repeats)]
    return sum(replay(recording, schedule, order, slots=slots).spent for order in orders) / repeats


def _checkpoint_bytes(pace: Pace) -> int:
    """`last.pt` with the optimiser's state and the average, and `best.pt`."""
    return pace.weights_bytes * (2 + pace.optimizer_copies)
