"""Input of the commands that take a stage's options: flags, and a `--config` file."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import MISSING, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nas.cli.shared.flags import build, parsed
from nas.cli.shared.run_flags import RunFlags, file_options
from nas.search.options import NETWORKS
from nas.search.request import REQUESTS, stage_options
from nas.search.search_file import SECTIONS, check_format
from search_spaces.checks import require_integer, require_mapping
from search_spaces.errors import ConfigError
from search_spaces.yaml_files import read_yaml
from trials.options import OptionField, option_fields

if TYPE_CHECKING:
    from nas.search.directory import SearchDir

_KINDS = {bool: "true or false", Path: "a path", str: "text"}


@dataclass(frozen=True, kw_only=True)
class StageInput:
    """Input of a stage from flags and a file.

    Attributes:
        stage: 1, 2, or 3 for `stage-sr`.
        options: options of the stage's request that were given, as `nas.stage.run_stage`
            takes them.
        run: options about this run.
    """

    stage: int
    options: Mapping[str, Any]
    run: RunFlags

    def directory(self) -> "SearchDir":
        """Return the directory given, that of the FLOPs target, or the only search in `runs`."""
        from nas.search.directory import SearchDir, find_search_dir

        flops = self.options.get("flops")
        if self.run.search_dir is not None:
            directory = SearchDir(self.run.search_dir)
            directory.refresh()
            return directory
        if flops is not None:
            flops = require_integer(flops, "flops", 1)
            return SearchDir(Path("runs") / f"scrfdgen{flops / 1e9:g}g")
        return find_search_dir(None)


def stage_flags(stage: int) -> list[OptionField]:
    """Return the options of a stage's request as flags, none of which is required."""
    return [_optional(item) for item in stage_options(stage) if stage in item.option.stages]


def network_flags() -> list[OptionField]:
    """Return the flags of stages 1 and 2, each with the stages that have it."""
    own = {stage: {item.name: item for item in stage_flags(stage)} for stage in NETWORKS}
    merged = {**own[1], **own[2], **own[1]}
    return [_of_stages(item, [s for s in own if name in own[s]]) for name, item in merged.items()]


def _of_stages(item: OptionField, stages: Sequence[int]) -> OptionField:
    """Return an option that only some stages have, as its help states."""
    option = replace(item.option, stages=tuple(stages))
    if len(stages) == 1 and option.help:
        option = replace(option, help=f"Stage {stages[0]}: {option.help}")
    return replace(item, option=option)


def _optional(item: OptionField) -> OptionField:
    return replace(item, default=None) if item.default is MISSING else item


def refuse_other_stage(stage: int, given: Mapping[str, Any], offered: list[OptionField]) -> None:
    """Refuse flags that only the other of stages 1 and 2 has. Raises ConfigError."""
    for item in offered:
        if item.name in given and stage not in item.option.stages:
            name = item.name.replace("_", "-")
            raise ConfigError(f"--{name} belongs to --stage {3 - stage}, got --stage {stage}")


def read_input(stage: int, given: Mapping[str, Any]) -> StageInput:
    """Return the input of a stage from the flags given and their `--config` file.

    Raises:
        ConfigError: see `with_config`.
    """
    merged = with_config(stage, given, [*stage_options(stage), *file_options()])
    names = {item.name for item in stage_options(stage)}
    return StageInput(
        stage=stage,
        options={name: value for name, value in merged.items() if name in names},
        run=build(RunFlags, merged),
    )


def with_config(
    stage: int, given: Mapping[str, Any], offered: Iterable[OptionField]
) -> dict[str, Any]:
    """Return the flags given, and the options of their `--config` file beside them.

    Raises:
        ConfigError: the file is damaged, has an option that is not offered, or a value of
            another type.
    """
    if "config" not in given:
        return dict(given)
    path, known = given["config"], {item.name: item for item in offered}
    content = read_config(stage, path)
    content = {"num_candidates" if key == "num" else key: v for key, v in content.items()}
    found = require_mapping(content, str(path), known)
    if not isinstance(found.get("ranges") or {}, Mapping):
        raise ConfigError(f"{path}: ranges must be a mapping, got {found['ranges']!r}")
    of_run = {item.name for item in file_options()}
    values = {k: _checked(known[k], v) if k in of_run else v for k, v in found.items()}
    values = {k: v for k, v in values.items() if v is not None or k not in of_run}
    return {key: parsed(known[key].option, value) for key, value in values.items()} | dict(given)


def _checked(item: OptionField, value: Any) -> Any:
    """Return an option about the run after a check of its type. Raises ConfigError."""
    if value is not None and not isinstance(value, str if item.kind is Path else item.kind):
        raise ConfigError(f"{item.name} must be {_KINDS[item.kind]}, got {value!r}")
    return value


def read_config(stage: int, path: Path) -> dict[str, Any]:
    """Return the options of a YAML file, without those that are computed.

    The file is a flat mapping of options, has a section for each stage, or is the `search.yaml`
    of another search.

    Raises:
        ConfigError: the file is damaged.
    """
    content = read_yaml(path)
    if isinstance(content, Mapping) and set(SECTIONS) & set(content):
        if "format" in content:
            check_format(content, str(path))
        content = content.get(f"stage{stage}", {})
    is_section = isinstance(content, Mapping) and "request" in content
    parts = [content["request"], content.get("run") or {}] if is_section else [content]
    for part in parts:
        if not isinstance(part, Mapping):
            raise ConfigError(f"{path}: must be a mapping of options, got {type(part).__name__}")
    computed = {i.name for i in option_fields(REQUESTS[stage]) if not i.option.in_file}
    given = {str(key): value for part in parts for key, value in part.items()}
    return {key: value for key, value in given.items() if key not in computed}
