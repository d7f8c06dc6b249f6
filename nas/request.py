"""What a stage was asked for: flags, a YAML file and earlier runs become one frozen request."""

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, ClassVar, TypeAlias

from search_spaces.checks import is_number, require_fields, require_integer
from search_spaces.errors import ConfigError, IncomparableError
from trials.fingerprint import differences
from trials.recipe import Recipe
from trials.settings import TrialSettings

# What may change from run to run: it decides how a search is run, not what it finds.
_RUN_ONLY = frozenset(
    {"num_candidates", "data", "loader_workers", "eval_every", "retries", "template"}
    | {"cpus_per_trial", "gpus_per_trial"}
)
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
        epochs, image_size, precision, eval_every, loader_workers: as in `TrialSettings`.
        retries: how often a failed trial is started again.
        cpus_per_trial, gpus_per_trial: None until the first run has chosen them.
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
    loader_workers: int | None = None
    retries: int = 1
    cpus_per_trial: float | None = None
    gpus_per_trial: float | None = None
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
        if not isinstance(self.ranges, Mapping):
            raise ConfigError(f"ranges must be a mapping, got {self.ranges!r}")
        object.__setattr__(self, "recipe", Recipe.from_dict(self.recipe).to_dict())
        self.settings(threads=1)  # validates the rest

    def settings(self, threads: int) -> TrialSettings:
        """How each trial is run, with this many CPU threads."""
        return TrialSettings(
            epochs=self.epochs,
            image_size=self.image_size,
            seed=self.seed,
            threads=threads,
            precision=self.precision,
            loader_workers=self.loader_workers,
            eval_every=self.eval_every,
        )

    def to_dict(self) -> dict[str, Any]:
        """Plain data for `search.yaml`."""
        return asdict(self)

    def comparable(self) -> dict[str, Any]:
        """What two runs must share for their results to stand in one leaderboard."""
        return {key: value for key, value in self.to_dict().items() if key not in _RUN_ONLY}


@dataclass(frozen=True, kw_only=True)
class Stage1Request(StageRequest):
    """Stage 1 searches the backbone in `space`: `auto`, `mobile` or `resnet`."""

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


AnyRequest: TypeAlias = Stage1Request | Stage2Request
REQUESTS: dict[int, type[Stage1Request] | type[Stage2Request]] = {
    1: Stage1Request,
    2: Stage2Request,
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


def check_comparable(before: StageRequest, now: StageRequest, where: Path) -> None:
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
