"""The choices of `simulate` by name, built from the code that a search runs."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from nas.early_stopping.schedule import SCHEDULERS, Schedule, tune_scheduler
from nas.planning.simulation import Choose, Recording, Replay, check_rungs, replay, replay_rounds
from nas.planning.simulation_study import Contestant
from nas.search.request import STRATEGIES
from search_spaces.errors import ConfigError

ALL = "all"


@dataclass(frozen=True, kw_only=True)
class Rules:
    """What all choices of a simulation share.

    Attributes:
        reduction_factor, grace_epochs: see `nas.early_stopping.schedule.Schedule`.
        slots: trials that run at the same time.
    """

    reduction_factor: int = 3
    grace_epochs: int | None = None
    slots: int = 1

    def schedule(self, epochs: int, scheduler: str, rungs: str = "shared") -> Schedule:
        """A schedule of these rules. Raises ConfigError."""
        return Schedule(
            epochs=epochs,
            scheduler=scheduler,
            rungs=rungs,
            reduction_factor=self.reduction_factor,
            grace_epochs=self.grace_epochs,
        )


def contestants(
    recording: Recording, strategies: Sequence[str], schedulers: Sequence[str], rules: Rules
) -> list[Contestant]:
    """Every strategy with every scheduler, in the order given; `all` stands for all names.

    Raises:
        ConfigError: an unknown name; a scheduler would decide where nothing was recorded.
    """
    names = _known(schedulers, SCHEDULERS, "--scheduler")
    schedules = [rules.schedule(recording.epochs, name) for name in names]
    for schedule in schedules:
        check_rungs(recording, schedule.milestones, schedule.scheduler)
    return [
        Contestant(
            strategy=strategy,
            scheduler=schedule.scheduler,
            play=judged_play(recording, schedule, strategy=strategy, slots=rules.slots),
        )
        for strategy in _known(strategies, STRATEGIES, "--strategy")
        for schedule in schedules
    ]


def complete_contestant(
    recording: Recording, short: Mapping[int, Recording], rules: Rules
) -> tuple[Contestant, Recording]:
    """Successive halving at the ends of complete short schedules, and what it is replayed on.

    Args:
        recording: of the whole trainings.
        short: of the shorter ones of the same candidates, by their epochs.
        rules: see `Rules`.

    Raises:
        ConfigError: a rung has no schedule of so many epochs.
        DataError: see `Recording.with_rungs`.
    """
    schedule = rules.schedule(recording.epochs, "asha", "complete")
    missing = sorted(set(schedule.complete_rungs) - set(short))
    if missing:
        raise ConfigError(
            f"complete rungs lie after epochs {list(schedule.complete_rungs)}; give --short with "
            f"schedules of {missing} epochs too, or other --grace-epochs"
        )
    spliced = recording.with_rungs(short)
    play = partial(_play_rounds, spliced, schedule, rules.slots)
    return Contestant(strategy="random", scheduler="asha, complete rungs", play=play), spliced


def judged_play(
    recording: Recording, schedule: Schedule, *, strategy: str = "random", slots: int = 1
) -> Callable[[Sequence[int], int], Replay]:
    """Plays searches under a scheduler as one hands it to Ray Tune."""

    def play(order: Sequence[int], seed: int) -> Replay:
        choose = None if strategy == "random" else chooser(strategy, recording, order, seed)
        return replay(recording, _judge(schedule), order, choose=choose, slots=slots)

    return play


def chooser(strategy: str, recording: Recording, order: Sequence[int], seed: int) -> Choose:
    """A search's strategy whose FLOPs shell are the recorded candidates.

    It is asked as in a search, and what it proposes is always one of them. What it begins
    with, before it has learnt anything, are the first ones of `order`.
    """
    from nas.strategies.evolution import Evolution
    from nas.strategies.observation import Observation
    from nas.strategies.shell import Shell
    from nas.strategies.tpe import TPE

    members = [recording.architectures[number] for number in order]
    number_of = {recording.architectures[number].content_hash: number for number in order}
    shell = Shell(lambda count: members[:count], listed=len(members))
    asked = TPE(shell, seed) if strategy == "tpe" else Evolution(shell, seed)

    def choose(finished: Mapping[int, float], left: Sequence[int]) -> int:
        known = {digest for digest, number in number_of.items() if number not in left}
        observations = [
            Observation(architecture=recording.architectures[number], hard=hard)
            for number, hard in finished.items()
        ]
        return number_of[asked.ask(observations, known, len(known) + 1).content_hash]

    return choose


def _play_rounds(
    recording: Recording, schedule: Schedule, slots: int, order: Sequence[int], seed: int
) -> Replay:
    return replay_rounds(recording, schedule, order, slots=slots)


def _judge(schedule: Schedule) -> Any:
    from nas.running.scheduler import Judge

    return Judge(
        tune_scheduler(schedule),
        epochs=schedule.epochs,
        milestones=schedule.milestones,
        ended={},
    )


def _known(names: Sequence[str], known: Sequence[str], flag: str) -> list[str]:
    """The names without repetition, `all` spelled out. Raises ConfigError."""
    spelled: list[str] = []
    for name in names:
        if name != ALL and name not in known:
            raise ConfigError(f"{flag} must be among {', '.join(known)} or all, got {name!r}")
        spelled += known if name == ALL else [name]
    return list(dict.fromkeys(spelled))
