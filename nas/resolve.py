"""From options to a request: defaults, the run before, stage 1, the template, the data."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from nas.request import (
    AnyRequest,
    Stage2Request,
    check_comparable,
    option_names,
    request_differences,
    request_from_dict,
)
from nas.search_dir import SearchDir
from nas.status import best_of
from search_spaces.architecture import Architecture, load_architecture
from search_spaces.checks import require_mapping
from search_spaces.cost import flops_by_part, total
from search_spaces.errors import ConfigError, DataError, IncomparableError
from trials.fingerprint import data_fingerprint
from trials.recipe import Recipe

DEFAULT_DATA = Path("data/retinaface")  # where SCRFD keeps WIDER FACE
# What stage 2 takes from stage 1, unless a flag says otherwise where that is allowed.
_INHERITED = (
    *("flops", "tolerance", "seed", "data", "data_fingerprint", "recipe", "epochs"),
    *("image_size", "precision", "eval_every", "loader_workers", "retries"),
    *("cpus_per_trial", "gpus_per_trial"),
)
# What must be the same in both stages, since their leaderboards are read side by side.
_COMMON = ("flops", "data_fingerprint", "recipe", "epochs", "image_size", "precision")


def resolve_request(
    directory: SearchDir, stage: int, options: Mapping[str, Any]
) -> tuple[AnyRequest, Architecture | None]:
    """The request that `options` mean in `directory`, and stage 2's template.

    Raises: as `run_stage`.
    """
    require_mapping(options, "the request", [*option_names(stage), "batch_size"])
    stored = directory.requests()
    before = stored.get(stage)
    values: dict[str, Any] = before.to_dict() if before else _inherited(stored, stage)
    values |= {key: value for key, value in options.items() if key != "batch_size"}
    template = None
    if stage == 2:
        values["template"], template = _template(directory, options.get("template"), before)
        values["template_hash"] = template.content_hash
        values.setdefault("flops", total(flops_by_part(template)))
    values["data"] = _data_root(values.get("data"))
    values["data_fingerprint"] = data_fingerprint(values["data"])
    values.setdefault("recipe", Recipe.named("reference").to_dict())
    if "batch_size" in options:
        values["recipe"] = {**values["recipe"], "batch_size": options["batch_size"]}
    if "flops" not in values:
        raise ConfigError("--flops is needed to begin a search, such as --flops 2.5G")
    request = request_from_dict(stage, values, "the request")
    if before:
        check_comparable(before, request, directory.root)
    _check_common(directory, request, stored)
    return request, template


def _inherited(stored: Mapping[int, AnyRequest], stage: int) -> dict[str, Any]:
    if stage == 1 or 1 not in stored:
        return {}
    first = stored[1].to_dict()
    return {key: first[key] for key in _INHERITED}


def _check_common(
    directory: SearchDir, request: AnyRequest, stored: Mapping[int, AnyRequest]
) -> None:
    """Refuse a stage whose results could not be compared with the other one's."""
    other = stored.get(3 - request.stage)
    if other is None:
        return
    changed = request_differences(other, request, _COMMON)
    if changed:
        raise IncomparableError(
            f"{directory.root}: stage {request.stage} must have what stage {other.stage} had; "
            f"leave the options out or take another --search-dir. Different: {'; '.join(changed)}"
        )


def _data_root(given: object) -> str:
    """The data's absolute path, checked as far as a glance goes. Raises DataError."""
    root = Path(str(given)) if given is not None else DEFAULT_DATA
    if given is None and not root.is_dir():
        raise DataError(
            f"--data is needed ({DEFAULT_DATA} does not exist); "
            "`scrfd-nas data generate OUT` draws a set to try things out"
        )
    needed = ("train/labelv2.txt", "train/images", "val/images", "val/gt")
    for name in needed if root.is_dir() else ("",):
        if not (root / name).exists():
            hint = "`scrfd-nas data check` says what a data folder needs"
            raise DataError(f"{root / name}: does not exist; {hint}")
    return str(root.resolve())


def _template(
    directory: SearchDir, reference: object, before: AnyRequest | None
) -> tuple[str, Architecture]:
    """Stage 2's template: a stage-1 number, `best`, a built-in name, a file, or as before."""
    kept = directory.stage_folder(2) / "template.yaml"
    if reference is None and isinstance(before, Stage2Request) and kept.is_file():
        return before.template, load_architecture(kept)
    text = "best" if reference is None else str(reference)
    if text == "best" or (text.isascii() and text.isdigit()):
        return stage1_template(directory, text)

    from trials.candidate import resolve_candidate  # needs torch

    return text, resolve_candidate(text)


def stage1_template(directory: SearchDir, reference: str) -> tuple[str, Architecture]:
    """A stage-1 candidate by its number or as `best`: its number as text, and itself.

    Raises:
        ConfigError: there is no such candidate, or none has finished.
    """
    if reference == "best":
        best = best_of(directory.outcomes(1))
        if best is None:
            rule = "--template best needs a finished stage-1 candidate"
            raise ConfigError(f"{rule}, found none in {directory.stage_folder(1)}")
        reference = str(best[0])
    numbers, number = directory.numbers(1), int(reference)
    if number not in numbers:
        known = f"1 to {max(numbers)}" if numbers else "none"
        rule = "--template must be the number of a stage-1 candidate"
        raise ConfigError(f"{rule} ({known} in {directory.root}), got {number}")
    return reference, load_architecture(directory.architecture_file(1, number))
