"""Options of a simulation."""

from dataclasses import dataclass, field

from nas.early_stopping.schedule import SCHEDULERS, Schedule
from nas.search.stage_request import STRATEGIES, StageRequest
from search_spaces.errors import ConfigError
from trials.options import OPTION, check_options, declared, option_field

ALL = "all"


def _names(text: str) -> tuple[str, ...]:
    """Return the names in a text without repetition."""
    return tuple(dict.fromkeys(name.strip() for name in text.split(",")))


@dataclass(frozen=True, kw_only=True)
class SimulationOptions:
    """Search methods to compare, and settings of their replays; `all` stands for every name."""

    strategy: tuple[str, ...] = declared(
        STRATEGIES,
        f"Strategies, with commas between them, or {ALL}.",
        default_text=ALL,
        parser=_names,
        metavar="|".join(STRATEGIES),
    )
    scheduler: tuple[str, ...] = declared(
        SCHEDULERS,
        f"Schedulers, with commas between them, or {ALL}.",
        default_text=ALL,
        parser=_names,
        metavar="|".join(SCHEDULERS),
    )
    reduction_factor: int = field(
        default=StageRequest.reduction_factor,
        metadata={OPTION: option_field(StageRequest, "reduction_factor").option},
    )
    grace_epochs: int | None = field(
        default=StageRequest.grace_epochs,
        metadata={OPTION: option_field(StageRequest, "grace_epochs").option},
    )
    repeats: int = declared(
        200, "Replays of each method; those of the same number have the same order.", minimum=1
    )
    seed: int = declared(0, "Seed of the orders and of the strategies.", minimum=0)
    slots: int = declared(1, "Trials that run at the same time.", minimum=1)
    margin: float = declared(
        0.005,
        "Distance from the best hard AP that counts as having found it.",
        minimum=0,
        maximum=1,
    )

    def __post_init__(self) -> None:
        check_options(self)
        for name, known in (("strategy", STRATEGIES), ("scheduler", SCHEDULERS)):
            if ALL in getattr(self, name):
                object.__setattr__(self, name, known)
        for name in set(self.strategy) - set(STRATEGIES):
            raise ConfigError(f"strategy must be one of {STRATEGIES}, got {name!r}")

    def schedule(self, epochs: int, scheduler: str, rungs: str = "shared") -> Schedule:
        """Return a schedule with these options. Raises ConfigError."""
        return Schedule(
            epochs=epochs,
            scheduler=scheduler,
            rungs=rungs,
            reduction_factor=self.reduction_factor,
            grace_epochs=self.grace_epochs,
        )
