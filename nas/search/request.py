"""What a stage was asked for: flags, a YAML file and earlier runs become one frozen request."""

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, ClassVar, TypeAlias

from nas.early_stopping.schedule import Schedule
from nas.search.budget import check_limit
from nas.search.crop_search import redistributed
from nas.storage.study_storage import JOURNAL, check_storage
from search_spaces.checks import is_number, require_fields, require_integer
from search_spaces.errors import ConfigError, IncomparableError
from trials.fingerprint import differences
from trials.recipe import Recipe
from trials.settings import TrialSettings

NO_SCREEN = "none"
LARGEST_POOL = 100_000
STRATEGIES = ("random", "tpe", "evolution")
# What may change from run to run: it decides how a search is run, not what it finds.
_RUN_ONLY = frozenset(
    {"num_candidates", "data", "loader_workers", "eval_every", "retries", "template"}
    | {"cpus_per_trial", "gpus_per_trial", "scheduler", "reduction_factor", "grace_epochs"}
    | {"strategy", "warm_start", "screen", "screen_from", "max_gpu_hours"}
    | {"cache", "cache_gb", "storage", "study"}
)
# What shapes the learning rate of a trial with complete rungs, and is free otherwise.
_OF_COMPLETE_RUNGS = frozenset({"reduction_factor", "grace_epochs"})
_HASH_OF = {"data_fingerprint": "data", "template_hash": "template"}


@dataclass(frozen=True, kw_only=True)
class StageRequest:
    """What both stages share.

    Attributes:
        flops: target in multiply-adds at 480x640.
        tolerance: relative deviation from `flops` that a candidate may have.
        num_candidates: how many; may grow from run to run.
        seed: of the proposals and of every trial.
        data: folder of the images, absolute.
        data_fingerprint: of its contents (`trials.fingerprint`).
        recipe: the training recipe as plain data.
        epochs, image_size, precision, eval_every, loader_workers, cache, cache_gb: as in
            `TrialSettings`.
        strategy: what chooses candidates (`nas.strategies`): `random`, `tpe`, `evolution`.
        warm_start: another search directory, absolute or a URL, whose finished trials of the
            stage the strategy learns from too.
        screen: a proxy that chooses candidates (`nas.candidates.screening`), or `none`.
        screen_from: how many candidates it chooses from.
        max_gpu_hours: the search ends when it has cost so much (`nas.search.budget`); None: never.
        scheduler, rungs, reduction_factor, grace_epochs: which trials end early
            (`nas.early_stopping.schedule.Schedule`).
        select_on: what candidates are ranked on (`TrialSettings`): `val` or `holdout:SHARE`.
        retries: how often a failed trial is started again between two finished epochs.
        cpus_per_trial, gpus_per_trial: None until the first run has chosen them.
        storage: of the study (`nas.storage.study_storage`): `journal` or a URL.
        study: what the study's name begins with in a database; None in a journal.
        ranges: changes to the space's own ranges.
    """

    stage: ClassVar[int]

    flops: int
    tolerance: float = 0.02
    num_candidates: int = 64
    seed: int = 0
    data: str
    data_fingerprint: str
    recipe: Mapping[str, Any]
    epochs: int = 80
    image_size: int = 640
    precision: str = "auto"
    eval_every: int = 0
    strategy: str = "random"
    warm_start: str | None = None
    screen: str = NO_SCREEN
    screen_from: int = 1000
    max_gpu_hours: float | None = None
    scheduler: str = "fifo"
    rungs: str = "shared"
    reduction_factor: int = 3
    grace_epochs: int | None = None
    select_on: str = "val"
    loader_workers: int | None = None
    cache: str = "auto"
    cache_gb: float | None = None
    retries: int = 1
    cpus_per_trial: float | None = None
    gpus_per_trial: float | None = None
    storage: str = JOURNAL
    study: str | None = None
    ranges: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name, low in (("flops", 1), ("num_candidates", 1), ("retries", 0)):
            object.__setattr__(self, name, require_integer(getattr(self, name), name, low))
        if not is_number(self.tolerance) or not 0 < self.tolerance < 1:
            raise ConfigError(f"tolerance must be between 0 and 1, got {self.tolerance!r}")
        for name in ("cpus_per_trial", "gpus_per_trial"):
            value = getattr(self, name)
            if value is not None and (not is_number(value) or value < 0):
                raise ConfigError(f"{name} must be a number of at least 0, got {value!r}")
        self._check_strategy()
        self._check_screen()
        check_limit(self.max_gpu_hours)
        check_storage(self.storage)
        if not isinstance(self.ranges, Mapping):
            raise ConfigError(f"ranges must be a mapping, got {self.ranges!r}")
        object.__setattr__(self, "recipe", Recipe.from_dict(self.recipe).to_dict())
        settings = self.settings(threads=1)  # validates the rest
        object.__setattr__(self, "select_on", settings.select_on)
        object.__setattr__(self, "cache", settings.cache)

    def _check_strategy(self) -> None:
        if self.strategy not in STRATEGIES:
            raise ConfigError(f"strategy must be one of {STRATEGIES}, got {self.strategy!r}")
        if self.strategy != "random" and self.schedule.is_complete:
            raise ConfigError(
                f"--strategy {self.strategy} chooses candidates one by one, but complete rungs "
                "need all of them at the start; use --rungs shared"
            )

    def _check_screen(self) -> None:
        pool = require_integer(self.screen_from, "screen_from", 1, LARGEST_POOL)
        object.__setattr__(self, "screen_from", pool)
        if self.screen == NO_SCREEN:
            return
        from trials.proxies.registry import require_proxy  # needs torch

        require_proxy(self.screen)
        if self.strategy != "random":
            raise ConfigError(
                f"--screen chooses among random candidates, got --strategy {self.strategy}"
            )
        if pool < self.num_candidates:
            rule = f"screen_from must be at least num_candidates ({self.num_candidates})"
            raise ConfigError(f"{rule}, got {pool}")

    @property
    def schedule(self) -> Schedule:
        """Which trials end early."""
        return Schedule(
            epochs=self.epochs,
            scheduler=self.scheduler,
            rungs=self.rungs,
            reduction_factor=self.reduction_factor,
            grace_epochs=self.grace_epochs,
        )

    def settings(self, threads: int) -> TrialSettings:
        """How each trial is run, with this many CPU threads."""
        schedule = self.schedule
        return TrialSettings(
            epochs=self.epochs,
            image_size=self.image_size,
            seed=self.seed,
            threads=threads,
            precision=self.precision,
            loader_workers=self.loader_workers,
            cache=self.cache,
            cache_gb=self.cache_gb,
            eval_every=self.eval_every,
            eval_at=schedule.milestones,
            rungs=schedule.complete_rungs,
            select_on=self.select_on,
        )

    def recipe_of(self, number: int) -> Mapping[str, Any]:
        """The training recipe of candidate `number`: one for all, unless it is searched."""
        return self.recipe

    def to_dict(self) -> dict[str, Any]:
        """Plain data for `search.yaml`."""
        return asdict(self)

    def comparable(self) -> dict[str, Any]:
        """What two runs must share for their results to stand in one leaderboard."""
        free = _RUN_ONLY - _OF_COMPLETE_RUNGS if self.schedule.is_complete else _RUN_ONLY
        return {key: value for key, value in self.to_dict().items() if key not in free}


@dataclass(frozen=True, kw_only=True)
class Stage1Request(StageRequest):
    """Stage 1 searches the backbone in `space`: `auto`, `mobile`, `resnet` or a plug-in's."""

    stage: ClassVar[int] = 1
    space: str = "auto"


@dataclass(frozen=True, kw_only=True)
class Stage2Request(StageRequest):
    """Stage 2 redistributes a template's compute.

    Attributes:
        template: how it was chosen, for people: a stage-1 number, a built-in name or a file.
        template_hash: its content hash.
        stage2_space: `free` or `scaled`.
        ratio_tolerance: on each stage's FLOPs relative to the stem's.
    """

    stage: ClassVar[int] = 2
    template: str
    template_hash: str
    stage2_space: str = "free"
    ratio_tolerance: float = 0.1


@dataclass(frozen=True, kw_only=True)
class RedistributionRequest(StageRequest):
    """Stage 3, `stage-sr`, searches how often each crop scale is drawn (`nas.search.crop_search`).

    Attributes:
        template: the one network of all candidates, as in stage 2.
        template_hash: its content hash.
    """

    stage: ClassVar[int] = 3
    template: str
    template_hash: str

    def __post_init__(self) -> None:
        super().__post_init__()
        for name, only in (("strategy", "random"), ("screen", NO_SCREEN), ("warm_start", None)):
            if getattr(self, name) != only:
                rule = f"stage-sr draws recipes, and {name} chooses networks; leave it out"
                raise ConfigError(f"{rule}, got {getattr(self, name)!r}")

    def recipe_of(self, number: int) -> Mapping[str, Any]:
        """The recipe with the crop weights of candidate `number`."""
        return redistributed(self.recipe, self.seed, number)


AnyRequest: TypeAlias = Stage1Request | Stage2Request | RedistributionRequest
REQUESTS: dict[int, type[Stage1Request] | type[Stage2Request] | type[RedistributionRequest]] = {
    1: Stage1Request,
    2: Stage2Request,
    3: RedistributionRequest,
}


def request_from_dict(stage: int, content: object, source: str) -> AnyRequest:
    """The inverse of `to_dict`. Raises ConfigError, its message begins with `source`."""
    cls = REQUESTS[stage]
    values = require_fields(cls, content, source)
    try:
        return cls(**values)
    except (ConfigError, TypeError) as error:
        raise ConfigError(f"{source}: {error}") from error


def option_names(stage: int) -> list[str]:
    """The keys of a stage's section in `search.yaml`, which are also those of `--config`."""
    return [item.name for item in fields(REQUESTS[stage])]


def check_comparable(before: StageRequest, now: StageRequest, where: Path | str) -> None:
    """Refuse to continue under a request whose results could not be compared.

    Raises:
        IncomparableError: shows every difference as `key: old -> new`.
    """
    changed = request_differences(before, now, before.comparable())
    if changed:
        raise IncomparableError(
            f"{where}: stage {before.stage} was started with other options, and its results "
            f"could not be compared; take the old ones or another --search-dir. "
            f"Different: {'; '.join(changed)}"
        )


def request_differences(before: StageRequest, now: StageRequest, keys: Iterable[str]) -> list[str]:
    """`key: old -> new` for those of `keys` that differ; beside a hash, what it is of."""
    theirs, ours = before.to_dict(), now.to_dict()
    shown = []
    for key in keys:
        if theirs.get(key) != ours.get(key):
            shown += [name for name in (_HASH_OF.get(key), key) if name]
    return differences(
        {key: theirs.get(key) for key in shown}, {key: ours.get(key) for key in shown}
    )
