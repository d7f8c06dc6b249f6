"""Requests of the three stages: what flags, a YAML file and earlier runs ask for."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any, ClassVar, TypeAlias

from nas.search.options import (
    TRAINING,
    RecipeOptions,
    StageOption,
    parse_flops,
    reused,
    stage_option,
)
from nas.search.stage_request import NO_SCREEN, StageRequest
from search_spaces.checks import require_fields
from search_spaces.errors import ConfigError, IncomparableError
from trials.fingerprint import differences
from trials.options import OPTION, OptionField, option_field, option_fields

_HASH_OF = {"data_fingerprint": "data", "template_hash": "template"}


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
        others = {"strategy": "random", "screen": NO_SCREEN, "warm_start": None}
        for name, only in {**others, "max_latency": None}.items():
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
