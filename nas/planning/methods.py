"""Search methods that a simulation compares: a strategy with a schedule."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from nas.early_stopping.schedule import SCHEDULERS, Schedule
from nas.planning.recording import Recording
from nas.planning.replay import Choose, Replay, replay
from nas.search.request import STRATEGIES
from search_spaces.errors import ConfigError

ALL = "all"


@dataclass(frozen=True, kw_only=True)
class Method:
    """One way to search among recorded candidates.

    Attributes:
        strategy: one of `nas.search.request.STRATEGIES`.
        schedule: rule by which trials end early.
        recording: curves to replay; with values at the schedule's rungs.
    """

    strategy: str
    schedule: Schedule
    recording: Recording

    def __post_init__(self) -> None:
        if self.strategy not in STRATEGIES:
            raise ConfigError(f"strategy must be one of {STRATEGIES}, got {self.strategy!r}")
        missing = sorted(set(self.schedule.milestones) - set(self.recording.evaluated()))
        if missing:
            raise ConfigError(
                f"{self.scheduler} decides after epochs {missing}, at which not every candidate "
                "was evaluated; record the curves of a search with --eval-every 1"
            )

    @property
    def scheduler(self) -> str:
        """The scheduler's name."""
        suffix = ", complete rungs" if self.schedule.is_complete else ""
        return self.schedule.scheduler + suffix

    def replay(self, order: Sequence[int], seed: int, slots: int) -> Replay:
        """Replay one search.

        Args:
            order: the candidates in random order.
            seed: seed of the strategy.
            slots: trials that run at the same time.
        """
        choose = None
        if self.strategy != "random":
            choose = _strategy_choice(self.strategy, self.recording, order, seed)
        return replay(self.recording, self.schedule, order, choose=choose, slots=slots)


@dataclass(frozen=True, kw_only=True)
class Choices:
    """Choices whose combinations are compared.

    Attributes:
        strategies, schedulers: names; `all` stands for every name.
        reduction_factor, grace_epochs: see `nas.early_stopping.schedule.Schedule`.
    """

    strategies: Sequence[str] = (ALL,)
    schedulers: Sequence[str] = (ALL,)
    reduction_factor: int = 3
    grace_epochs: int | None = None

    def methods(self, recording: Recording) -> list[Method]:
        """Return every strategy with every scheduler, in the order given.

        Raises:
            ConfigError: a name is unknown, or a rung lies where nothing was recorded.
        """
        schedulers = _without_all(self.schedulers, SCHEDULERS)
        schedules = [self._schedule(recording.epochs, name) for name in schedulers]
        return [
            Method(strategy=strategy, schedule=schedule, recording=recording)
            for strategy in _without_all(self.strategies, STRATEGIES)
            for schedule in schedules
        ]

    def complete_method(self, spliced: Recording, lengths: Sequence[int]) -> Method:
        """Return random search with rungs that are complete short schedules.

        Args:
            spliced: see `nas.planning.recording.splice`.
            lengths: epochs of the short schedules.

        Raises:
            ConfigError: a rung has no schedule of as many epochs.
        """
        schedule = self._schedule(spliced.epochs, "asha", "complete")
        missing = sorted(set(schedule.complete_rungs) - set(lengths))
        if missing:
            raise ConfigError(
                f"complete rungs lie after epochs {list(schedule.complete_rungs)}; give --short "
                f"with schedules of {missing} epochs too, or other --grace-epochs"
            )
        return Method(strategy="random", schedule=schedule, recording=spliced)

    def _schedule(self, epochs: int, scheduler: str, rungs: str = "shared") -> Schedule:
        return Schedule(
            epochs=epochs,
            scheduler=scheduler,
            rungs=rungs,
            reduction_factor=self.reduction_factor,
            grace_epochs=self.grace_epochs,
        )


def _without_all(names: Sequence[str], known: Sequence[str]) -> list[str]:
    """Return the names without repetition, `all` replaced by the known ones."""
    spelled = [other for name in names for other in (known if name == ALL else [name])]
    return list(dict.fromkeys(spelled))


def _strategy_choice(
    strategy: str, recording: Recording, order: Sequence[int], seed: int
) -> Choose:
    """Return a search's strategy as a choice among the recorded candidates.

    The recorded candidates are the strategy's whole FLOPs shell, the first ones of `order` those
    that it begins with.
    """
    from nas.strategies.evolution import Evolution
    from nas.strategies.shell import Shell
    from nas.strategies.strategy import Observation
    from nas.strategies.tpe import TPE

    members = [recording.architectures[number] for number in order]
    number_of = {recording.architectures[number].content_hash: number for number in order}
    shell = Shell(lambda count: members[:count], listed=len(members))
    proposer = TPE(shell, seed) if strategy == "tpe" else Evolution(shell, seed)

    def choose(finished: Mapping[int, float], left: Sequence[int]) -> int:
        known = {digest for digest, number in number_of.items() if number not in left}
        observations = [
            Observation(architecture=recording.architectures[number], hard=hard)
            for number, hard in finished.items()
        ]
        return number_of[proposer.ask(observations, known, len(known) + 1).content_hash]

    return choose
