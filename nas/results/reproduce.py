"""Repeated training of a candidate from its folder's record: `scrfd-nas reproduce`.

On the same machine, on a CPU with the same number of threads and the same versions, the same
seed gives the same weights to the bit. Elsewhere sums are taken in another order; the
difference, tiny at first, grows over the epochs up to that between two seeds.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from nas.search.directory import SEARCH_FILE, STAGES, SearchDir, package_versions
from reports.curves import Curve, read_curve
from search_spaces.architecture import Architecture
from search_spaces.checks import require_mapping
from search_spaces.errors import ConfigError, DataError, IncomparableError
from search_spaces.files import read_json
from trials.fingerprint import data_fingerprint, differences
from trials.model_file import read_tensors
from trials.recipe import Recipe
from trials.result import BEST, TrialResult, load_result
from trials.run import run_trial
from trials.settings import TrialSettings
from trials.trial import NO_CALLBACKS, REQUEST_FILE, Callbacks, Trial

AGAIN = "reproduced"
NOISE = 0.03  # hard AP between two seeds of one network (see docs/LOG.md)
IDENTICAL, WITHIN, DIFFERENT = "identical to the bit", "within noise", "different"
_DEPTH = 4  # folders between a training and its search: seeds/<seed>, number, stage
_KEYS = ("architecture", "recipe", "settings", "data")
_SHOWN = ("easy", "medium", "hard", "loss", "duration_s")


@dataclass(frozen=True, kw_only=True)
class Record:
    """Finished trial, as its folder and the search around it record it.

    Attributes:
        folder: Folder of the trial.
        request: Recorded request as plain data.
        architecture, recipe, settings: The same as objects; the settings evaluate after the
            epochs that were evaluated, with the search's number of threads where it is known.
        result, curve: Recorded result and curves.
        data: Folder of the images, None where it is not recorded.
        versions: Versions of the packages that ran the trial; empty where not recorded.
    """

    folder: Path
    request: Mapping[str, Any]
    architecture: Architecture
    recipe: Recipe
    settings: TrialSettings
    result: TrialResult
    curve: Curve
    data: Path | None = None
    versions: Mapping[str, str]


@dataclass(frozen=True, kw_only=True)
class Reproduction:
    """Comparison of two trainings of one request.

    Attributes:
        folder, again: Folders of the first and the second training.
        before, after: Their results.
        request_changes: `key: old -> new` where this version of the program understands the
            recorded request differently; usually empty.
        loss_difference, hard_difference: Largest differences of the curves over all epochs.
        same_weights: Whether the weights of the best epochs are equal to the bit.
        versions: Packages whose versions differ: before and now.
        noise: Difference of the final hard APs that counts as chance.
    """

    folder: Path
    again: Path
    before: TrialResult
    after: TrialResult
    request_changes: tuple[str, ...]
    loss_difference: float
    hard_difference: float
    same_weights: bool
    versions: Mapping[str, tuple[str, str]]
    noise: float

    @property
    def verdict(self) -> str:
        """`identical to the bit`, `within noise` or `different`, by the final hard AP."""
        if self.same_weights and self.before.aps == self.after.aps and not self.loss_difference:
            return IDENTICAL
        apart = abs(self.before.hard - self.after.hard)
        return WITHIN if apart <= self.noise else DIFFERENT

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON data."""
        return {
            **vars(self),
            "folder": str(self.folder),
            "again": str(self.again),
            "before": {name: getattr(self.before, name) for name in _SHOWN},
            "after": {name: getattr(self.after, name) for name in _SHOWN},
            "verdict": self.verdict,
        }


def read_record(folder: Path) -> Record:
    """Read the record of the trial in `folder`.

    Raises:
        ConfigError: No trial has finished there, or its request is damaged.
        DataError: Its metrics are damaged.
    """
    path = folder / REQUEST_FILE
    result = load_result(folder) if folder.is_dir() else None
    if result is None or not path.is_file():
        raise ConfigError(f"{folder}: must hold a finished trial ({REQUEST_FILE}, result.json)")
    request = require_mapping(read_json(path), str(path), _KEYS, _KEYS)
    architecture = Architecture.from_dict(request["architecture"], f"{path}: architecture")
    curve = read_curve(folder, 1, architecture)
    record = Record(
        folder=folder,
        request=request,
        architecture=architecture,
        recipe=Recipe.from_dict(request["recipe"], f"{path}: recipe"),
        settings=_settings(request["settings"], curve, path),
        result=result,
        curve=curve,
        versions={},
    )
    return _with_origin(record)


def reproduce(
    record: Record,
    data: Path,
    again: Path,
    *,
    noise: float = NOISE,
    callbacks: Callbacks = NO_CALLBACKS,
) -> Reproduction:
    """Repeat the recorded trial in the folder `again`, and compare.

    A repeated call continues there, and compares what has finished.

    Args:
        record: Record of the trial, with the threads and device for the repetition.
        data: Folder of the images.
        again: New folder, or that of an interrupted call.
        noise: Difference of the final hard APs that counts as chance.
        callbacks: As in `trials.run.run_trial`.

    Raises:
        IncomparableError: The data are others, or `again` holds another trial.
        ConfigError: `again` is the trial's own folder; the trial was data-parallel.
        DataError: There are no data.
        TrialFault: As in `run_trial`.
    """
    if again.resolve() == record.folder.resolve():
        raise ConfigError(f"{again}: is the trial's own folder; choose another --out")
    if record.settings.workers > 1:
        rule = "only a training of one worker is trained again here"
        raise ConfigError(f"{record.folder}: {rule}, it had {record.settings.workers}")
    _check_data(record, data)
    inputs = (record.architecture, record.recipe, data, again)
    result = run_trial(*inputs, settings=record.settings, callbacks=callbacks)
    trial = Trial(
        architecture=record.architecture,
        recipe=record.recipe,
        data_root=data,
        settings=record.settings,
    )
    changes = tuple(differences(record.request, trial.request()))
    return compare(record, again, result, changes, noise)


def compare(
    record: Record,
    again: Path,
    result: TrialResult,
    request_changes: tuple[str, ...] = (),
    noise: float = NOISE,
) -> Reproduction:
    """Compare the recorded trial with the finished one in `again`."""
    curve = read_curve(again, 1, record.architecture)
    now = package_versions()
    pairs = {name: (old, now.get(name, "unknown")) for name, old in record.versions.items()}
    return Reproduction(
        folder=record.folder,
        again=again,
        before=record.result,
        after=result,
        request_changes=request_changes,
        loss_difference=_largest(record.curve.loss, curve.loss),
        hard_difference=_largest(record.curve.hard, curve.hard),
        same_weights=_same_weights(record.folder / BEST, again / BEST),
        versions={name: pair for name, pair in pairs.items() if pair[0] != pair[1]},
        noise=noise,
    )


def _settings(content: object, curve: Curve, path: Path) -> TrialSettings:
    """Return the recorded settings, which evaluate after the epochs that were evaluated."""
    values = require_mapping(content, f"{path}: settings", TrialSettings().__dataclass_fields__)
    try:
        settings = TrialSettings(**values)
        between = tuple(epoch for epoch in sorted(curve.hard) if epoch < settings.epochs)
        return replace(settings, eval_at=between)
    except (ConfigError, TypeError) as error:
        raise ConfigError(f"{path}: {error}") from error


def _with_origin(record: Record) -> Record:
    """Add data, threads and versions from the search around the folder, if there is one."""
    resolved = record.folder.resolve()
    for root in list(resolved.parents)[:_DEPTH]:
        name = resolved.relative_to(root).parts[0]
        stage = {f"stage{stage}": stage for stage in STAGES}.get(name)
        if stage is None or not (root / SEARCH_FILE).is_file():
            continue
        directory = SearchDir(root)
        request = directory.requests().get(stage)
        if request is None:
            break
        cores = request.cpus_per_trial
        versions = directory.origin(stage).get("versions", {})
        return replace(
            record,
            data=Path(request.data),
            settings=replace(record.settings, threads=None if not cores else max(1, int(cores))),
            versions=versions if isinstance(versions, Mapping) else {},
        )
    return record


def _check_data(record: Record, data: Path) -> None:
    now, before = data_fingerprint(data), record.request["data"]
    if now != before:
        raise IncomparableError(
            f"{data}: is not what {record.folder} was trained on; give its data with --data. "
            f"Different: data: {before!r} -> {now!r}"
        )


def _largest(before: Mapping[int, float], after: Mapping[int, float]) -> float:
    """Return the largest difference over the epochs that both curves have."""
    return max((abs(before[epoch] - after[epoch]) for epoch in before.keys() & after), default=0.0)


def _same_weights(before: Path, after: Path) -> bool:
    """Return whether two model files hold equal weights; a damaged file equals none."""
    try:
        ours, theirs = _weights(before), _weights(after)
    except DataError:
        return False
    return ours.keys() == theirs.keys() and all(
        torch.equal(value, theirs[name]) for name, value in ours.items()
    )


def _weights(path: Path) -> Mapping[str, torch.Tensor]:
    content = read_tensors(path)
    weights = content.get("model") if isinstance(content, Mapping) else None
    if not isinstance(weights, Mapping):
        raise DataError(f"{path}: is not a model file of this program")
    return weights
