"""Options that the requests of all stages share.

The fields are the options. Their metadata (`nas.search.options`) declare flags, help, limits,
inheritance between stages and what may change when a search is resumed.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from functools import partial
from typing import Any, ClassVar

from nas.early_stopping.schedule import RUNGS, SCHEDULERS, Schedule
from nas.search.options import (
    DATA,
    MACHINE,
    NETWORKS,
    SAVING,
    SEARCH_METAVAR,
    TRAINING,
    RecipeOptions,
    StageOption,
    parse_flops,
    parse_latency,
    parse_recipe,
    reused,
    setting,
    stage_option,
)
from nas.storage.study_storage import JOURNAL, check_storage
from search_spaces.checks import is_number, require_integer
from search_spaces.errors import ConfigError
from trials.options import OPTION, check_options, option_field, option_fields
from trials.recipe import Recipe
from trials.settings import LatencyOptions, TrialSettings

NO_SCREEN = "none"
LARGEST_POOL = 100_000
STRATEGIES = ("random", "tpe", "evolution")
_saving = partial(stage_option, panel=SAVING, inherited=True)
_latency = partial(stage_option, stages=NETWORKS, inherited=True)
_machine = partial(stage_option, panel=MACHINE, inherited=True, changes="always")


def _latency_option(name: str) -> dict[str, StageOption]:
    """Return metadata of a stage's field from an option of `LatencyOptions`."""
    declared = option_field(LatencyOptions, name).option
    help = f"--max-latency: {declared.help}"
    return reused(declared, help=help, stages=NETWORKS, inherited=True)


def latency_options(values: Mapping[str, Any]) -> LatencyOptions:
    """Return the options of latencies among those of a stage. Raises ConfigError."""
    return LatencyOptions(
        runtime=values["latency_on"],
        threads=values["latency_threads"],
        size=values["latency_size"],
    )


@dataclass(frozen=True, kw_only=True)
class StageRequest:
    """Options that all stages share.

    Attributes:
        flops: target in multiply-adds at 480x640.
        data: folder of the images as an absolute path.
        data_fingerprint: hash of the contents of `data` (`trials.fingerprint`).
        recipe: the training recipe as plain data.
        eval_every: None: the epochs of `eval_at` are evaluated.
        eval_at: epochs to evaluate after besides the last one and the rungs, ascending
            (`nas.early_stopping.evaluations`); empty where `eval_every` is given.
        warm_start: absolute path or URL of another search directory.
        max_gpu_hours: limit of the hours of `nas.search.budget`; None: no limit.
        cpus_per_trial, gpus_per_trial: None until the first run has chosen them.
        study: prefix of the study's name in a database; None for a journal.
        ranges: changes to the ranges of the search space.
        max_latency: limit of the latency of every candidate in milliseconds.
        latency_conditions: what the latencies were measured with (`describe_conditions` of
            `trials.evaluation.latency`); None without a limit.
    """

    stage: ClassVar[int]

    flops: int = field(metadata=stage_option(parser=parse_flops))
    num_candidates: int = field(
        default=64,
        metadata=stage_option(
            "Number of candidates; may grow from run to run.",
            minimum=1,
            maximum=LARGEST_POOL,
            changes="always",
        ),
    )
    tolerance: float = field(
        default=0.02,
        metadata=stage_option(
            "Relative deviation from the FLOPs target.", stages=NETWORKS, inherited=True
        ),
    )
    seed: int = field(
        default=TrialSettings.seed,
        metadata=stage_option("Seed of the proposals and the trials.", minimum=0, inherited=True),
    )
    screen: str = field(
        default=NO_SCREEN,
        metadata=stage_option(
            "Train the candidates with the highest training-free score, such as zen; or none.",
            metavar="PROXY",
            stages=NETWORKS,
            changes="always",
        ),
    )
    screen_from: int = field(
        default=1000,
        metadata=stage_option(
            "Number of candidates that --screen scores.",
            minimum=1,
            maximum=LARGEST_POOL,
            stages=NETWORKS,
            changes="always",
        ),
    )
    max_latency: float | None = field(
        default=None,
        metadata=_latency(
            "Train only candidates that are as fast, as measured on this machine before any "
            "training: 4.2ms.",
            default_text="no limit",
            parser=parse_latency,
            metavar="MS",
            minimum=1e-6,
        ),
    )
    latency_on: str = field(default=LatencyOptions.runtime, metadata=_latency_option("runtime"))
    latency_threads: int = field(
        default=LatencyOptions.threads, metadata=_latency_option("threads")
    )
    latency_size: tuple[int, int] = field(
        default=LatencyOptions.size, metadata=_latency_option("size")
    )
    latency_conditions: str | None = field(
        default=None, metadata=stage_option(changes="always", in_file=False)
    )
    data: str = field(
        metadata=reused(
            DATA[OPTION],
            default_text="data/retinaface",
            panel=TRAINING,
            inherited=True,
            changes="always",
        )
    )
    data_fingerprint: str = field(metadata=stage_option(inherited=True, common=True, in_file=False))
    epochs: int = field(default=TrialSettings.epochs, metadata=setting("epochs", common=True))
    image_size: int = field(
        default=TrialSettings.image_size, metadata=setting("image_size", common=True)
    )
    recipe: Mapping[str, Any] = field(
        metadata=reused(
            option_field(RecipeOptions, "recipe").option,
            default_text=RecipeOptions.recipe,
            parser=parse_recipe,
            panel=TRAINING,
            inherited=True,
            common=True,
        )
    )
    precision: str = field(
        default=TrialSettings.precision, metadata=setting("precision", common=True)
    )
    eval_every: int | None = field(
        default=None,
        metadata=setting(
            "eval_every",
            default_text="about ten evaluations, if they take at most 3 % of a trial",
            changes="always",
        ),
    )
    eval_at: tuple[int, ...] = field(
        default=(), metadata=stage_option(inherited=True, changes="always", in_file=False)
    )
    select_on: str = field(
        default=TrialSettings.select_on, metadata=setting("select_on", common=True)
    )
    strategy: str = field(
        default=STRATEGIES[0],
        metadata=_saving(
            "Strategy that chooses the candidates.",
            choices=STRATEGIES,
            stages=NETWORKS,
            changes="always",
        ),
    )
    warm_start: str | None = field(
        default=None,
        metadata=_saving(
            "Another search, whose finished trials tpe and evolution learn from too.",
            metavar=SEARCH_METAVAR,
            stages=NETWORKS,
            inherited=False,
            changes="always",
        ),
    )
    scheduler: str = field(
        default=SCHEDULERS[0],
        metadata=_saving(
            "Scheduler that ends poor trials early; fifo ends none.",
            metavar="|".join(SCHEDULERS),  # checked by the schedule
            changes="always",
        ),
    )
    rungs: str = field(
        default=RUNGS[0],
        metadata=_saving(
            "Compare trials during their training (shared), or in rounds of complete shorter "
            "trainings (complete, with asha).",
            choices=RUNGS,
            common=True,
        ),
    )
    reduction_factor: int = field(
        default=3,
        metadata=_saving(
            "One trial in this many continues at a rung.",
            minimum=2,
            common=True,
            changes="with shared rungs",
        ),
    )
    grace_epochs: int | None = field(
        default=None,
        metadata=_saving(
            "Epochs before which no trial ends.",
            default_text="epochs / reduction-factor^2",
            minimum=1,
            common=True,
            changes="with shared rungs",
        ),
    )
    max_gpu_hours: float | None = field(
        default=None,
        metadata=_saving(
            "Stop the search, which can be resumed, when its trials have taken this many "
            "GPU-hours; without GPUs, hours of trials.",
            default_text="no limit",
            minimum=0,
            changes="always",
        ),
    )
    gpus_per_trial: float | None = field(
        default=None,
        metadata=_machine(
            "GPUs of a trial, or a share of one.", default_text="1 where there are GPUs", minimum=0
        ),
    )
    cpus_per_trial: float | None = field(
        default=None,
        metadata=_machine(
            "CPU cores of a trial.",
            default_text="the machine's, shared among the trials",
            minimum=0.01,
        ),
    )
    loader_workers: int | None = field(
        default=TrialSettings.loader_workers,
        metadata=setting("loader_workers", panel=MACHINE, changes="always"),
    )
    cache: str = field(
        default=TrialSettings.cache, metadata=setting("cache", panel=MACHINE, changes="always")
    )
    cache_gb: float | None = field(
        default=TrialSettings.cache_gb,
        metadata=setting("cache_gb", panel=MACHINE, changes="always"),
    )
    retries: int = field(
        default=1,
        metadata=_machine(
            "Times that a failed trial is started again between two finished epochs.", minimum=0
        ),
    )
    storage: str = field(
        default=JOURNAL,
        metadata=_machine(
            "Storage of the Optuna study: a journal file in the search directory, or a URL such "
            "as postgresql://me@host/optuna.",
            metavar="journal|URL",
        ),
    )
    study: str | None = field(
        default=None, metadata=stage_option(inherited=True, changes="always", in_file=False)
    )
    ranges: Mapping[str, Any] = field(default_factory=dict, metadata=stage_option())

    def __post_init__(self) -> None:
        check_options(self)
        object.__setattr__(self, "latency_size", self.latency_options.size)
        object.__setattr__(self, "flops", require_integer(self.flops, "flops", 1))
        if not is_number(self.tolerance) or not 0 < self.tolerance < 1:
            raise ConfigError(f"tolerance must be between 0 and 1, got {self.tolerance!r}")
        if self.max_gpu_hours == 0:
            raise ConfigError(f"max_gpu_hours must be above 0, got {self.max_gpu_hours!r}")
        self._check_strategy()
        self._check_screen()
        check_storage(self.storage)
        if not isinstance(self.ranges, Mapping):
            raise ConfigError(f"ranges must be a mapping, got {self.ranges!r}")
        object.__setattr__(self, "recipe", Recipe.from_dict(self.recipe).to_dict())
        settings = self.settings(threads=1)  # validates the rest
        object.__setattr__(self, "eval_at", tuple(self.eval_at))
        object.__setattr__(self, "select_on", settings.select_on)
        object.__setattr__(self, "cache", settings.cache)

    def _check_strategy(self) -> None:
        if self.strategy != "random" and self.schedule.is_complete:
            raise ConfigError(
                f"--strategy {self.strategy} chooses candidates one by one, but complete rungs "
                "need all of them at the start; use --rungs shared"
            )

    def _check_screen(self) -> None:
        if self.screen == NO_SCREEN:
            return
        from trials.proxies.registry import require_proxy  # needs torch

        require_proxy(self.screen)
        if self.strategy != "random":
            raise ConfigError(
                f"--screen chooses among random candidates, got --strategy {self.strategy}"
            )
        if self.screen_from < self.num_candidates:
            rule = f"screen_from must be at least num_candidates ({self.num_candidates})"
            raise ConfigError(f"{rule}, got {self.screen_from}")

    @property
    def schedule(self) -> Schedule:
        """Rule that ends trials early."""
        return Schedule(
            epochs=self.epochs,
            scheduler=self.scheduler,
            rungs=self.rungs,
            reduction_factor=self.reduction_factor,
            grace_epochs=self.grace_epochs,
        )

    def settings(self, threads: int) -> TrialSettings:
        """Return the settings of each trial, with this many CPU threads."""
        schedule = self.schedule
        shared = {i.name for i in fields(TrialSettings)} & {i.name for i in fields(self)}
        return TrialSettings(
            **{name: getattr(self, name) for name in shared - {"rungs", "eval_every", "eval_at"}},
            threads=threads,
            eval_every=self.eval_every or 0,
            eval_at=tuple(sorted({*self.eval_at, *schedule.milestones})),
            rungs=schedule.complete_rungs,
        )

    @property
    def latency_options(self) -> LatencyOptions:
        """Options with which latencies are measured."""
        return latency_options(vars(self))

    def recipe_of(self, number: int) -> Mapping[str, Any]:
        """Return the training recipe of candidate `number`."""
        return self.recipe

    def to_dict(self) -> dict[str, Any]:
        """Return plain data for `search.yaml`."""
        lists = {name: list(getattr(self, name)) for name in ("eval_at", "latency_size")}
        return {**asdict(self), **lists}

    def comparable(self) -> dict[str, Any]:
        """Return the options that two runs must share to stand in one leaderboard."""
        free = {"always"} if self.schedule.is_complete else {"always", "with shared rungs"}
        changing = {i.name for i in option_fields(type(self)) if i.option.changes in free}
        return {key: value for key, value in self.to_dict().items() if key not in changing}
