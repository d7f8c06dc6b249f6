"""Resolution of a stage's options into its request.

What the options leave out comes from the run before, from stage 1, or from the defaults.
"""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from nas.candidates.space_plugins import require_space
from nas.early_stopping.evaluations import default_evaluations
from nas.monitoring.rows import confirmed_best
from nas.monitoring.status import best_of
from nas.search.directory import SearchDir
from nas.search.request import (
    AnyRequest,
    check_comparable,
    common_names,
    inherited_names,
    option_names,
    request_differences,
    request_from_dict,
)
from nas.storage.study_storage import JOURNAL, absolute_storage, check_storage, search_name
from nas.storage.urls import absolute
from search_spaces.architecture import Architecture, load_architecture
from search_spaces.checks import require_mapping
from search_spaces.cost.detector import flops_by_part, total
from search_spaces.errors import ConfigError, DataError, IncomparableError
from trials.data.dataset import count_images
from trials.evaluation.latency import describe_conditions
from trials.fingerprint import DATA_LAYOUT, data_fingerprint
from trials.recipe import Recipe

DEFAULT_DATA = Path("data/retinaface")  # where SCRFD keeps WIDER FACE


def resolve_request(
    directory: SearchDir, stage: int, options: Mapping[str, Any]
) -> tuple[AnyRequest, Architecture | None]:
    """Return the request that `options` mean in `directory`, and the template of stage 2 or 3.

    Raises: as `nas.stage.run_stage`.
    """
    require_mapping(options, "the request", [*option_names(stage), "batch_size"])
    stored = directory.requests()
    before = stored.get(stage)
    values = before.to_dict() if before else _inherited(stored, stage)
    values |= {key: value for key, value in options.items() if key != "batch_size"}
    template = None
    if stage == 1:
        require_space(values.get("space", "auto"))
    else:
        values["template"], template = _template(directory, stage, options.get("template"), before)
        values["template_hash"] = template.content_hash
        if stage == 3 or "flops" not in values:
            values["flops"] = total(flops_by_part(template))
    values |= _locations(directory, values, is_recorded="data" not in options)
    if "flops" not in values:
        raise ConfigError("--flops is needed to begin a search, such as --flops 2.5G")
    values["recipe"] = _recipe(values, options.get("batch_size"))
    request = _with_evaluations(request_from_dict(stage, values, "the request"))
    if before:
        check_comparable(before, request, str(directory))
    _check_common(directory, request, stored)
    if request.max_latency is not None and request.latency_conditions is None:
        conditions = describe_conditions(request.latency_options)
        request = replace(request, latency_conditions=conditions)
    return request, template


def _inherited(stored: Mapping[int, AnyRequest], stage: int) -> dict[str, Any]:
    """Return the options that a later stage takes from stage 1."""
    if stage == 1 or 1 not in stored:
        return {}
    first = stored[1].to_dict()
    return {name: first[name] for name in inherited_names(stage)}


def _locations(
    directory: SearchDir, values: Mapping[str, Any], *, is_recorded: bool
) -> dict[str, Any]:
    """Return the options that name files and stores, with absolute paths."""
    found: dict[str, Any] = {"data": data_root(values.get("data"), is_recorded=is_recorded)}
    found["data_fingerprint"] = data_fingerprint(found["data"])
    if values.get("warm_start") is not None:
        found["warm_start"] = absolute(str(values["warm_start"]))
    storage = check_storage(values.get("storage", JOURNAL))
    if storage == JOURNAL:
        return {**found, "storage": JOURNAL, "study": None}
    name = values.get("study") or search_name(directory.root)
    return {**found, "storage": absolute_storage(storage), "study": name}


def _recipe(values: Mapping[str, Any], batch_size: object) -> dict[str, Any]:
    recipe = values.get("recipe", Recipe.named("reference").to_dict())
    return recipe if batch_size is None else {**recipe, "batch_size": batch_size}


def _with_evaluations(request: AnyRequest) -> AnyRequest:
    """Choose the epochs to evaluate after, unless they are given or chosen already."""
    if request.eval_every is not None:
        return replace(request, eval_at=())
    held_out = request.settings(threads=1).held_out
    chosen = default_evaluations(request.schedule, *count_images(request.data, held_out))
    return replace(request, eval_at=request.eval_at or chosen)


def _check_common(
    directory: SearchDir, request: AnyRequest, stored: Mapping[int, AnyRequest]
) -> None:
    """Refuse a stage 1 or 2 whose results could not be compared with those of the other one."""
    other = stored.get(3 - request.stage)
    if other is None:
        return
    changed = request_differences(other, request, common_names(other))
    if changed:
        raise IncomparableError(
            f"{directory}: stage {request.stage} must have what stage {other.stage} had; "
            f"leave the options out or take another --search-dir. Different: {'; '.join(changed)}"
        )


def data_root(given: object, *, is_recorded: bool) -> str:
    """Return the absolute path of the data after a check of its layout.

    Args:
        given: folder of the data; None: the default one.
        is_recorded: whether an earlier run of the search had it, rather than the user gave it.

    Raises:
        DataError: it does not exist, or lacks a part.
    """
    root = Path(str(given)) if given is not None else DEFAULT_DATA
    if given is None and not root.is_dir():
        raise DataError(
            f"--data is needed ({DEFAULT_DATA} does not exist); "
            "`scrfd-nas data generate OUT` draws a set to try things out"
        )
    for name in DATA_LAYOUT if root.is_dir() else ("",):
        if not (root / name).exists():
            hint = "`scrfd-nas data check` says what a data folder needs"
            if is_recorded:
                hint = "the search had its data there; if they have moved, give --data"
            raise DataError(f"{root / name}: does not exist; {hint}")
    return str(root.resolve())


def _template(
    directory: SearchDir, stage: int, reference: object, before: AnyRequest | None
) -> tuple[str, Architecture]:
    """Return the template of stage 2 or 3: a number, `best`, a built-in name or a file.

    Without a reference it is the template of the run before, else the best candidate. Numbers
    are those of the last earlier stage that has begun.
    """
    kept = directory.stage_folder(stage) / "template.yaml"
    if reference is None and before is not None and kept.is_file():
        reference = str(before.to_dict()["template"])
        try:
            return reference, load_architecture(kept)
        except ConfigError as error:
            raise ConfigError(f"{error}; give --template {reference} again") from error
    text = "best" if reference is None else str(reference)
    if is_candidate(text):
        source = 2 if stage == 3 and 2 in directory.requests() else 1
        return stage_template(directory, source, text)

    from trials.candidate import resolve_candidate  # needs torch

    return text, resolve_candidate(text)


def is_candidate(reference: str) -> bool:
    """Return whether a reference is the number of a candidate, or `best`."""
    return reference == "best" or (reference.isascii() and reference.isdigit())


def stage_template(directory: SearchDir, stage: int, reference: str) -> tuple[str, Architecture]:
    """Return the number, as text, and the architecture of a candidate of `stage`.

    `best` is the candidate with the highest mean over seeds where candidates were confirmed
    (`nas.results.confirm`), else the one with the highest hard AP.

    Raises:
        ConfigError: there is no such candidate, or none has finished.
    """
    if reference == "best":
        best = confirmed_best(directory, stage) or best_of(directory.outcomes(stage))
        if best is None:
            rule = f"--template best needs a finished stage-{stage} candidate"
            raise ConfigError(f"{rule}, found none in {directory.stage_folder(stage)}")
        reference = str(best[0])
    numbers, number = directory.numbers(stage), int(reference)
    if number not in numbers:
        known = f"1 to {max(numbers)}" if numbers else "none"
        rule = f"--template must be the number of a stage-{stage} candidate"
        raise ConfigError(f"{rule} ({known} in {directory}), got {number}")
    return reference, directory.architecture(stage, number)
