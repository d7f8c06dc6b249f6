"""Request of a stage: what flags, a YAML file and earlier runs ask for, as one frozen dataclass.

The fields are the options of the stages. Their metadata (`nas.search.options`) declare flags,
help, limits, inheritance between stages and what may change when a search is resumed.
"""

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, TypeAlias

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
    parse_recipe,
    reused,
    setting,
    stage_option,
)
from nas.storage.study_storage import JOURNAL, check_storage
from search_spaces.checks import is_number, require_fields, require_integer
from search_spaces.errors import ConfigError, IncomparableError
from trials.fingerprint import differences
from trials.options import OPTION, OptionField, check_options, option_field, option_fields
from trials.recipe import Recipe
from trials.settings import TrialSettings

NO_SCREEN = "none"
LARGEST_POOL = 100_000
STRATEGIES = ("random", "tpe", "evolution")
_saving = partial(stage_option, panel=SAVING, inherited=True)
_machine = partial(stage_option, panel=MACHINE, inherited=True, changes="always")
_HASH_OF = {"data_fingerprint": "data", "template_hash": "template"}


@dataclass(frozen=True, kw_only=True)
class StageRequest:
    """Options that all stages share.

    Attributes:
        flops: target in multiply-adds at 480x640.
        data: folder of the images as an absolute path.
        data_fingerprint: hash of the contents of `data` (`trials.fingerprint`).
        recipe: the training recipe as plain data.
        warm_start: absolute path or URL of another search directory.
        max_gpu_hours: limit of the hours of `nas.search.budget`; None: no limit.
        cpus_per_trial, gpus_per_trial: None until the first run has chosen them.
        study: prefix of the study's name in a database; None for a journal.
        ranges: changes to the ranges of the search space.
    """

    stage: ClassVar[int]

    flops: int = field(metadata=stage_option(parser=parse_flops))
    num_candidates: int = field(
        default=64,
        metadata=stage_option(
            "Number of candidates; may grow from run to run.", minimum=1, changes="always"
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
    eval_every: int = field(
        default=TrialSettings.eval_every, metadata=setting("eval_every", changes="always")
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
        shared = {item.name for item in fields(TrialSettings)} & set(option_names(self.stage))
        return TrialSettings(
            **{name: getattr(self, name) for name in shared - {"rungs"}},
            threads=threads,
            eval_at=schedule.milestones,
            rungs=schedule.complete_rungs,
        )

    def recipe_of(self, number: int) -> Mapping[str, Any]:
        """Return the training recipe of candidate `number`."""
        return self.recipe

    def to_dict(self) -> dict[str, Any]:
        """Return plain data for `search.yaml`."""
        return asdict(self)

    def comparable(self) -> dict[str, Any]:
        """Return the options that two runs must share to stand in one leaderboard."""
        free = {"always"} if self.schedule.is_complete else {"always", "with shared rungs"}
        changing = {i.name for i in option_fields(type(self)) if i.option.changes in free}
        return {key: value for key, value in self.to_dict().items() if key not in changing}


def _flops_option(default_text: str) -> dict[str, StageOption]:
    return stage_option(
        "FLOPs target (multiply-adds at 480x640), such as 2.5G.",
        default_text=default_text,
        parser=parse_flops,
        metavar="FLOPS",
        inherited=True,
        common=True,
    )


@dataclass(frozen=True, kw_only=True)
class Stage1Request(StageRequest):
    """Request of stage 1, which searches the backbone."""

    stage: ClassVar[int] = 1
    flops: int = field(metadata=_flops_option("none; needed to begin a search"))
    space: str = field(
        default="auto",
        metadata=stage_option(
            "Search space: auto, mobile, resnet or the name of a plug-in.",
            default_text="auto, mobile up to 1G",
        ),
    )


def _template_option(help: str) -> dict[str, StageOption]:
    return stage_option(help, default_text="best", metavar="N|best|NAME|FILE", changes="always")


_HASH_OPTION = stage_option(in_file=False)


@dataclass(frozen=True, kw_only=True)
class Stage2Request(StageRequest):
    """Request of stage 2, which redistributes the compute of a template.

    Attributes:
        template: how the template was chosen: a stage-1 number, a built-in name or a file.
        template_hash: content hash of the template.
    """

    stage: ClassVar[int] = 2
    template: str = field(
        metadata=_template_option("A stage-1 number, best, a built-in name or a YAML file.")
    )
    template_hash: str = field(metadata=_HASH_OPTION)
    flops: int = field(metadata=_flops_option("stage 1's, else the template's"))
    stage2_space: str = field(
        default="free",
        metadata=stage_option(
            "free: every depth and width; scaled: one ratio.", metavar="free|scaled"
        ),
    )
    ratio_tolerance: float = field(
        default=0.1,
        metadata=stage_option("Deviation of each stage's FLOPs relative to the stem's."),
    )


@dataclass(frozen=True, kw_only=True)
class RedistributionRequest(StageRequest):
    """Request of stage 3, `stage-sr`, which searches how often each crop scale is drawn.

    See `nas.search.crop_search`.

    Attributes:
        template: the one network of all candidates, as in stage 2.
        template_hash: content hash of the network.
    """

    stage: ClassVar[int] = 3
    template: str = field(
        metadata=_template_option(
            "A number of stage 2 (of stage 1 without one), best, a built-in name or a YAML file."
        )
    )
    template_hash: str = field(metadata=_HASH_OPTION)

    def __post_init__(self) -> None:
        super().__post_init__()
        for name, only in (("strategy", "random"), ("screen", NO_SCREEN), ("warm_start", None)):
            if getattr(self, name) != only:
                rule = f"stage-sr draws recipes, and {name} chooses networks; leave it out"
                raise ConfigError(f"{rule}, got {getattr(self, name)!r}")

    def recipe_of(self, number: int) -> Mapping[str, Any]:
        """Return the recipe with the crop weights of candidate `number`."""
        from nas.search.crop_search import redistributed  # needs numpy

        return redistributed(self.recipe, self.seed, number)


AnyRequest: TypeAlias = Stage1Request | Stage2Request | RedistributionRequest
REQUESTS: dict[int, type[Stage1Request] | type[Stage2Request] | type[RedistributionRequest]] = {
    1: Stage1Request,
    2: Stage2Request,
    3: RedistributionRequest,
}


def option_names(stage: int) -> list[str]:
    """Return the keys of a stage's section in `search.yaml`."""
    return [item.name for item in fields(REQUESTS[stage])]


def stage_options(stage: int) -> list[OptionField]:
    """Return the options of a stage that flags or files may give, in the order of the help.

    `batch_size`, which changes the recipe, is among them though the request has no such field.
    """
    own = REQUESTS[stage].__annotations__
    declared = sorted(option_fields(REQUESTS[stage]), key=lambda item: item.name not in own)
    names = [item.name for item in declared]
    declared.insert(names.index("recipe") + 1, _batch_size())
    return [item for item in declared if item.option.in_file]


def _batch_size() -> OptionField:
    item = option_field(RecipeOptions, "batch_size")
    return replace(item, option=reused(item.option, panel=TRAINING)[OPTION])


def inherited_names(stage: int) -> list[str]:
    """Return the options that stage 2 or 3 takes from stage 1 by default."""
    declared = option_fields(REQUESTS[stage])
    return [i.name for i in declared if i.option.inherited and stage in i.option.stages]


def common_names(request: StageRequest) -> list[str]:
    """Return the options of a request that the other stage must share."""
    fixed = request.comparable()
    return [i.name for i in option_fields(type(request)) if i.option.common and i.name in fixed]


def request_from_dict(stage: int, content: object, source: str) -> AnyRequest:
    """Return the request of plain data, the inverse of `to_dict`.

    Raises:
        ConfigError: the data are no request; the message begins with `source`.
    """
    cls = REQUESTS[stage]
    values = require_fields(cls, content, source)
    try:
        return cls(**values)
    except (ConfigError, TypeError) as error:
        raise ConfigError(f"{source}: {error}") from error


def check_comparable(before: StageRequest, now: StageRequest, where: Path | str) -> None:
    """Refuse a request whose results could not be compared with those of the earlier one.

    Raises:
        IncomparableError: the requests differ; shows each difference as `key: old -> new`.
    """
    changed = request_differences(before, now, before.comparable())
    if changed:
        raise IncomparableError(
            f"{where}: stage {before.stage} was started with other options, and its results "
            f"could not be compared; take the old ones or another --search-dir. "
            f"Different: {'; '.join(changed)}"
        )


def request_differences(before: StageRequest, now: StageRequest, keys: Iterable[str]) -> list[str]:
    """Return `key: old -> new` for those of `keys` that differ.

    A hash that differs is preceded by the option that it is the hash of.
    """
    theirs, ours = before.to_dict(), now.to_dict()
    shown = []
    for key in keys:
        if theirs.get(key) != ours.get(key):
            shown += [name for name in (_HASH_OF.get(key), key) if name]
    return differences(
        {key: theirs.get(key) for key in shown}, {key: ours.get(key) for key in shown}
    )
