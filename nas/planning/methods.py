"""Search methods that a simulation compares: a strategy with a scheduler."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from nas.early_stopping.schedule import SCHEDULERS, Schedule, check_scheduler
from nas.planning.recording import Recording
from nas.planning.replay import Choose, Replay, replay
from nas.search.request import STRATEGIES
from search_spaces.errors import ConfigError

ALL = "all"


@dataclass(frozen=True, kw_only=True)
class Method:
    """One way to search.

    Attributes:
        strategy, scheduler: names.
        recording: curves to replay.
        schedule: rule by which trials end early.
        slots: trials that run at the same time.
    """

    strategy: str
    scheduler: str
    recording: Recording
    schedule: Schedule
    slots: int = 1

    def replay(self, order: Sequence[int], seed: int) -> Replay:
        """Replay one search over the candidates in `order`; `seed` is the strategy's."""
        choose = None
        if self.strategy != "random":
            choose = strategy_choice(self.strategy, self.recording, order, seed)
        return replay(self.recording, self.schedule, order, choose=choose, slots=self.slots)


@dataclass(frozen=True, kw_only=True)
class Rules:
    """Settings that all methods of a simulation share.

    Attributes:
        reduction_factor, grace_epochs: see `nas.early_stopping.schedule.Schedule`.
        slots: trials that run at the same time.
    """

    reduction_factor: int = 3
    grace_epochs: int | None = None
    slots: int = 1

    def schedule(self, epochs: int, scheduler: str, rungs: str = "shared") -> Schedule:
        """Return a schedule with these settings. Raises ConfigError."""
        return Schedule(
            epochs=epochs,
            scheduler=scheduler,
            rungs=rungs,
            reduction_factor=self.reduction_factor,
            grace_epochs=self.grace_epochs,
        )


def methods(
    recording: Recording, strategies: Sequence[str], schedulers: Sequence[str], rules: Rules
) -> list[Method]:
    """Return every strategy with every scheduler, in the order given; `all` is every name.

    Raises:
        ConfigError: a name is unknown, or a rung lies where nothing was recorded.
    """
    schedules = []
    for name in _spelled_out(schedulers, SCHEDULERS):
        check_scheduler(name)
        schedules.append(rules.schedule(recording.epochs, name))
        recording.check_rungs(schedules[-1].milestones, name)
    names = _spelled_out(strategies, STRATEGIES)
    for name in names:
        if name not in STRATEGIES:
            raise ConfigError(f"strategy must be one of {STRATEGIES} or {ALL}, got {name!r}")
    return [
        Method(
            strategy=name,
            scheduler=schedule.scheduler,
            recording=recording,
            schedule=schedule,
            slots=rules.slots,
        )
        for name in names
        for schedule in schedules
    ]


def complete_rungs_method(spliced: Recording, lengths: Sequence[int], rules: Rules) -> Method:
    """Return successive halving at the ends of complete short schedules.

    Args:
        spliced: see `nas.planning.recording.splice`.
        lengths: epochs of the short schedules.
        rules: see `Rules`.

    Raises:
        ConfigError: a rung has no schedule of as many epochs.
    """
    schedule = rules.schedule(spliced.epochs, "asha", "complete")
    missing = sorted(set(schedule.complete_rungs) - set(lengths))
    if missing:
        raise ConfigError(
            f"complete rungs lie after epochs {list(schedule.complete_rungs)}; give --short with "
            f"schedules of {missing} epochs too, or other --grace-epochs"
        )
    return Method(
        strategy="random",
        scheduler="asha, complete rungs",
        recording=spliced,
        schedule=schedule,
        slots=rules.slots,
    )


def strategy_choice(strategy: str, recording: Recording, order: Sequence[int], seed: int) -> Choose:
    """Return a search's strategy as a choice among the recorded candidates.

    The recorded candidates are the strategy's whole FLOPs shell, with the first ones of `order`
    as those that it begins with.
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


def _spelled_out(names: Sequence[str], known: Sequence[str]) -> list[str]:
    """Return the names without repetition, `all` replaced by the known ones."""
    spelled = [other for name in names for other in (known if name == ALL else [name])]
    return list(dict.fromkeys(spelled))
