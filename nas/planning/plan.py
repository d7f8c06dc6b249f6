"""Estimate of a stage's cost: arithmetic on counts and a pace (`nas.planning.plan_measuring`).

Every figure that rests on an assumption has its basis in words beside it.
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


@dataclass(frozen=True, kw_only=True)
class Pace:
    """Speed of one trial while as many run beside it as in the search.

    Attributes:
        images_per_second: training images.
        evaluation_s: seconds for one validation image, from its file to its detections.
        weights_bytes: size of a trial's weights in a file.
        optimizer_copies: copies of that size in a checkpoint, for optimiser and moving average.
        basis: source of the figures.
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
    """Trials of a stage.

    Attributes:
        candidates: candidates of the stage, those with an outcome included.
        feasible: architectures that satisfy the constraints; None: not counted.
        draws, accepted: counts of rejection sampling; 0 where the space is enumerated.
        schedule: rule by which trials end early.
        done: epochs done by each candidate without an outcome.
        training_images, validation_images: images of an epoch and of an evaluation.
        evaluations: evaluations of a whole trial.
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
class LatencyWork:
    """Latencies to measure before the first trial.

    Attributes:
        measurements: expected number.
        seconds: expected time of all of them.
        basis: source of the figures.
    """

    measurements: float
    seconds: float
    basis: str


@dataclass(frozen=True, kw_only=True)
class Plan:
    """Cost of a stage.

    Attributes:
        work, pace: what the cost follows from.
        resources: resources of each trial.
        slots: trials that run at the same time.
        epochs: epochs to train in all trials; an expectation where trials may end early.
        epochs_basis: assumption of the expectation; empty where nothing is assumed.
        trial_s: seconds of training and evaluation of a whole trial.
        wall_s: seconds from the start of the stage to the end of its last trial.
        latency: latencies to measure before the first trial; None without a limit.
    """

    work: Work
    pace: Pace
    resources: Resources
    slots: int
    epochs: float
    epochs_basis: str
    trial_s: float
    wall_s: float
    latency: LatencyWork | None = None

    @property
    def evaluation_s(self) -> float:
        """Seconds of one evaluation."""
        return self.work.validation_images * self.pace.evaluation_s

    @property
    def evaluation_share(self) -> float:
        """Share of a whole trial that its evaluations before the last one take."""
        return (self.work.evaluations - 1) * self.evaluation_s / self.trial_s

    @property
    def trial_hours(self) -> float:
        """Hours of all trials, one after the other."""
        return self.epochs * self.trial_s / self.work.schedule.epochs / 3600

    @property
    def images(self) -> float:
        """Training images in all trials."""
        return self.epochs * self.work.training_images

    @property
    def uses_gpus(self) -> bool:
        """Whether trials have a share of a GPU."""
        return self.resources.gpus_per_trial > 0

    @property
    def device_hours(self) -> float:
        """Hours that `--max-gpu-hours` counts (see `nas.search.budget`)."""
        return devices_of(self.resources.gpus_per_trial) * self.trial_hours

    @property
    def cpu_hours(self) -> float:
        """Hours of the cores that trials reserve."""
        return self.resources.cpus_per_trial * self.trial_hours

    @property
    def disk_bytes(self) -> int:
        """Size of `last.pt`, with optimiser and moving average, and `best.pt` of all candidates."""
        return self.work.candidates * self.pace.weights_bytes * (2 + self.pace.optimizer_copies)

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON data."""
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
            "evaluation_share": self.evaluation_share,
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
            "latency": None if self.latency is None else asdict(self.latency),
        }


def make_plan(
    work: Work, pace: Pace, resources: Resources, slots: int, latency: LatencyWork | None = None
) -> Plan:
    """Return the plan for `slots` trials at a time. Raises ConfigError: `slots` is below 1."""
    require_integer(slots, "slots", 1)
    whole = work.schedule.epochs
    evaluation_s = work.evaluations * work.validation_images * pace.evaluation_s
    trial_s = whole * work.training_images / pace.images_per_second + evaluation_s
    left = [whole - done for _, done in sorted(work.done.items())]
    epochs, basis = expected_epochs(work.schedule, left, slots)
    wall = epochs / slots if basis else makespan(left, slots)
    return Plan(
        work=work,
        pace=pace,
        resources=resources,
        slots=slots,
        epochs=epochs,
        epochs_basis=basis,
        trial_s=trial_s,
        wall_s=max(wall, max(left, default=0)) * trial_s / whole
        + (latency.seconds if latency else 0.0),
        latency=latency,
    )


def expected_epochs(schedule: Schedule, left: Sequence[int], slots: int) -> tuple[float, str]:
    """Return the expected epochs of some trials, and the assumption (empty for none).

    Args:
        schedule: rule by which trials end early.
        left: epochs that each trial takes if it does not end early.
        slots: trials that run at the same time.
    """
    if not schedule.stops_trials or len(left) < 2:
        return float(sum(left)), ""
    share = _replayed_epochs(schedule, len(left), slots) / (schedule.epochs * len(left))
    basis = f"expected: {schedule.scheduler} replayed on ranks that never change, in random order"
    return share * sum(left), basis


def makespan(lengths: Sequence[float], slots: int) -> float:
    """Return when the last of some jobs ends, each started in order when a slot is free."""
    ends = [0.0] * slots
    for length in lengths:
        heapq.heapreplace(ends, ends[0] + length)
    return max(ends)


def _replayed_epochs(schedule: Schedule, trials: int, slots: int) -> float:
    """Return the mean epochs of searches over candidates whose curves never cross."""
    epochs = (*schedule.milestones, schedule.epochs)
    # With the digits of `metrics.csv`.
    hard = {n: dict.fromkeys(epochs, round(n / trials, 6)) for n in range(1, trials + 1)}
    recording = Recording(epochs=schedule.epochs, architectures={}, hard=hard)
    repeats = 1 if schedule.is_complete else EXPECTATION_REPLAYS  # rounds need no order
    orders = [random_order(recording, 0, repeat) for repeat in range(repeats)]
    return sum(replay(recording, schedule, order, slots=slots).spent for order in orders) / repeats
