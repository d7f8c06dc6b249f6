"""Search methods that a simulation compares: a strategy with a schedule."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from nas.early_stopping.schedule import Schedule
from nas.planning.options import SimulationOptions
from nas.planning.recording import Recording
from nas.planning.replay import Choose, Replay, replay
from search_spaces.errors import ConfigError


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


def methods(recording: Recording, options: SimulationOptions) -> list[Method]:
    """Return every strategy with every scheduler.

    A scheduler without a recorded rung is left out unless it is the only one (see
    `replayed_schedule`).

    Raises:
        ConfigError: a scheduler is unknown, or a rung is at an epoch that was not recorded.
    """
    schedules = [replayed_schedule(recording, options, name) for name in options.scheduler]
    if not any(schedules):
        schedules = [options.schedule(recording.epochs, name) for name in options.scheduler]
    return [
        Method(strategy=strategy, schedule=schedule, recording=recording)
        for strategy in options.strategy
        for schedule in schedules
        if schedule is not None
    ]


def replayed_schedule(
    recording: Recording, options: SimulationOptions, scheduler: str
) -> Schedule | None:
    """Return a scheduler's schedule with the fewest grace epochs whose rungs are all recorded.

    Given grace epochs are kept. None if no grace epochs have all their rungs recorded.
    """
    asked, evaluated = options.schedule(recording.epochs, scheduler), recording.evaluated()
    if options.grace_epochs is not None or set(asked.milestones) <= set(evaluated):
        return asked
    for grace in evaluated[:-1]:
        schedule = replace(asked, grace_epochs=grace)
        if grace > asked.grace and set(schedule.milestones) <= set(evaluated):
            return schedule
    return None


def describe_rungs(recording: Recording, options: SimulationOptions) -> list[str]:
    """Return for each scheduler that ends trials which rungs are replayed, in a sentence."""
    lines = []
    for name in options.scheduler:
        asked = options.schedule(recording.epochs, name)
        found = replayed_schedule(recording, options, name)
        missing = sorted(set(asked.milestones) - set(recording.evaluated()))
        lacking = f"not every candidate was evaluated after {_listed(missing)}"
        if found is None:
            lines.append(f"{name} is left out: {lacking} (use --eval-every 1)")
        elif missing:
            text = f"{name}: rungs after epochs {_listed(found.milestones)}"
            lines.append(f"{text}, as with --grace-epochs {found.grace}: {lacking}")
        elif asked.stops_trials:
            lines.append(f"{name}: rungs after epochs {_listed(asked.milestones)}")
    return lines


def _listed(epochs: Sequence[int]) -> str:
    return ", ".join(map(str, epochs))


def complete_rungs_method(
    spliced: Recording, lengths: Sequence[int], options: SimulationOptions
) -> Method:
    """Return random search with rungs that are complete short schedules.

    Args:
        spliced: see `nas.planning.recording.splice`.
        lengths: epochs of the short schedules.
        options: reduction factor and grace epochs.

    Raises:
        ConfigError: a rung has no schedule of as many epochs.
    """
    schedule = options.schedule(spliced.epochs, "asha", "complete")
    missing = sorted(set(schedule.complete_rungs) - set(lengths))
    if missing:
        raise ConfigError(
            f"complete rungs are after epochs {list(schedule.complete_rungs)}; give --short with "
            f"schedules of {missing} epochs too, or other --grace-epochs"
        )
    return Method(strategy="random", schedule=schedule, recording=spliced)


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
