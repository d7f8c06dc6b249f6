"""A candidate trained again from what its folder records, and compared: `scrfd-nas reproduce`.

On the same machine, on a CPU with the same number of threads and the same versions, the same
seed gives the same weights to the bit. Elsewhere sums are taken in another order; the
difference, tiny at first, grows over the epochs to that between two seeds, but not beyond.
"""

from collections.abc import Callable, Mapping
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
from trials.model_file import BEST, read_tensors
from trials.recipe import Recipe
from trials.result import TrialResult, load_result
from trials.run import run_trial
from trials.settings import TrialSettings
from trials.trial import NO_CALLBACKS, REQUEST_FILE, Callbacks, Trial

AGAIN = "reproduced"
NOISE = 0.03  # hard AP between two seeds of one network (see docs/LOG.md)
IDENTICAL, WITHIN, DIFFERENT = "identical to the bit", "within noise", "different"
_DEPTH = 4  # folders between a training and its search: seeds/<seed>, number, stage
_KEYS = ("architecture", "recipe", "settings", "data")


@dataclass(frozen=True, kw_only=True)
class Record:
    """A finished trial as its folder, and the search around it, record it.

    Attributes:
        folder: the trial's.
        request: what it was asked for, as plain data.
        architecture, recipe, settings: the same, to be run; the epochs that were evaluated
            are evaluated again.
        result, curve: what it came to.
        data: where its images lay, None where that is not recorded.
        threads: CPU threads that it had, None where that is not recorded.
        versions: of the packages that ran it; empty where they are not recorded.
    """

    folder: Path
    request: Mapping[str, Any]
    architecture: Architecture
    recipe: Recipe
    settings: TrialSettings
    result: TrialResult
    curve: Curve
    data: Path | None
    threads: int | None
    versions: Mapping[str, str]


@dataclass(frozen=True, kw_only=True)
class Reproduction:
    """Two trainings of one request, compared.

    Attributes:
        folder, again: of the first and of the second.
        before, after: their results.
        request_changes: `key: old -> new` where today's program understands the request in
            another way; empty as a rule.
        loss_difference, hard_difference: the largest over all epochs; of the curves.
        same_weights: whether the best epochs' weights are equal to the bit.
        versions: by package, before and now, where they differ.
        noise: difference of the final hard APs that counts as chance.
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
        """Plain JSON data."""
        names = ("easy", "medium", "hard", "loss", "duration_s")
        return {
            "folder": str(self.folder),
            "again": str(self.again),
            "before": {name: getattr(self.before, name) for name in names},
            "after": {name: getattr(self.after, name) for name in names},
            "request_changes": list(self.request_changes),
            "loss_difference": self.loss_difference,
            "hard_difference": self.hard_difference,
            "same_weights": self.same_weights,
            "versions": {name: list(pair) for name, pair in self.versions.items()},
            "noise": self.noise,
            "verdict": self.verdict,
        }


def read_record(folder: Path) -> Record:
    """What `folder` says of its trial.

    Raises:
        ConfigError: no trial has finished there, or its request is damaged.
        DataError: its metrics are damaged.
    """
    path = folder / REQUEST_FILE
    result = load_result(folder) if folder.is_dir() else None
    if result is None or not path.is_file():
        raise ConfigError(f"{folder}: must hold a finished trial ({REQUEST_FILE}, result.json)")
    request = _parsed(path)
    architecture = Architecture.from_dict(request["architecture"], f"{path}: architecture")
    curve = read_curve(folder, 1, architecture)
    origin = _origin(folder)
    return Record(
        folder=folder,
        request=request,
        architecture=architecture,
        recipe=Recipe.from_dict(request["recipe"], f"{path}: recipe"),
        settings=_settings(request["settings"], curve, path),
        result=result,
        curve=curve,
        **origin,
    )


def reproduce(
    record: Record,
    data: Path,
    again: Path,
    *,
    threads: int | None = None,
    device: str = "auto",
    noise: float = NOISE,
    callbacks: Callbacks = NO_CALLBACKS,
    run: Callable[..., TrialResult] = run_trial,
) -> Reproduction:
    """Train the recorded trial again in the folder `again`, and compare.

    Asked again, it continues there, and compares what has finished.

    Args:
        record: of `read_record`.
        data: folder of the images.
        again: new, or of an interrupted call.
        threads: CPU threads; None: as recorded.
        device: as in `TrialSettings`.
        noise: difference of the final hard APs that counts as chance.
        callbacks, run: as `trials.run.run_trial`, and itself.

    Raises:
        IncomparableError: the data are others, or `again` holds another trial.
        ConfigError: `again` is the trial's own folder; it was trained data-parallel.
        DataError: there are no data; the trial's best weights cannot be read.
        TrialFault: as `run_trial`.
    """
    if again.resolve() == record.folder.resolve():
        raise ConfigError(f"{again}: is the trial's own folder; choose another --out")
    if record.settings.workers > 1:
        rule = "only a training of one worker is trained again here"
        raise ConfigError(f"{record.folder}: {rule}, it had {record.settings.workers}")
    _check_data(record, data)
    settings = replace(record.settings, threads=threads or record.threads, device=device)
    trial = Trial(
        architecture=record.architecture, recipe=record.recipe, data_root=data, settings=settings
    )
    request = trial.request()
    result = run(
        record.architecture,
        record.recipe,
        data,
        again,
        settings=settings,
        callbacks=callbacks,
    )
    return compare(record, again, result, tuple(differences(record.request, request)), noise)


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
    return Reproduction(
        folder=record.folder,
        again=again,
        before=record.result,
        after=result,
        request_changes=request_changes,
        loss_difference=_largest(record.curve.loss, curve.loss),
        hard_difference=_largest(record.curve.hard, curve.hard),
        same_weights=_same_weights(record.folder / BEST, again / BEST),
        versions={
            name: (old, now.get(name, "unknown"))
            for name, old in record.versions.items()
            if old != now.get(name, "unknown")
        },
        noise=noise,
    )


def _parsed(path: Path) -> dict[str, Any]:
    return require_mapping(read_json(path), str(path), _KEYS, _KEYS)


def _settings(content: object, curve: Curve, path: Path) -> TrialSettings:
    """The recorded settings, which evaluate where the trial was evaluated."""
    known = TrialSettings().__dataclass_fields__
    values = require_mapping(content, f"{path}: settings", known)
    try:
        settings = TrialSettings(**values)
        between = tuple(epoch for epoch in sorted(curve.hard) if epoch < settings.epochs)
        return TrialSettings(**{**values, "eval_at": between})
    except (ConfigError, TypeError) as error:
        raise ConfigError(f"{path}: {error}") from error


def _origin(folder: Path) -> dict[str, Any]:
    """Data, threads and versions of the search that the folder belongs to, where it has one."""
    unknown: dict[str, Any] = {"data": None, "threads": None, "versions": {}}
    resolved = folder.resolve()
    for root in list(resolved.parents)[:_DEPTH]:
        if not (root / SEARCH_FILE).is_file():
            continue
        directory, name = SearchDir(root), resolved.relative_to(root).parts[0]
        stage = {f"stage{stage}": stage for stage in STAGES}.get(name)
        request = directory.requests().get(stage or 0)
        if stage is None or request is None:
            return unknown
        cores = request.cpus_per_trial
        versions = directory.origin(stage).get("versions", {})
        return {
            "data": Path(request.data),
            "threads": None if cores is None else max(1, int(cores)),
            "versions": versions if isinstance(versions, Mapping) else {},
        }
    return unknown


def _check_data(record: Record, data: Path) -> None:
    now, before = data_fingerprint(data), record.request["data"]
    if now != before:
        raise IncomparableError(
            f"{data}: is not what {record.folder} was trained on; give its data with --data. "
            f"Different: data: {before!r} -> {now!r}"
        )


def _largest(before: Mapping[int, float], after: Mapping[int, float]) -> float:
    """The largest difference over the epochs that both curves have."""
    return max((abs(before[epoch] - after[epoch]) for epoch in before.keys() & after), default=0.0)


def _same_weights(before: Path, after: Path) -> bool:
    """Whether two model files hold equal weights; a file that is not there is not equal."""
    if not (before.is_file() and after.is_file()):
        return False
    ours, theirs = _weights(before), _weights(after)
    return ours.keys() == theirs.keys() and all(
        torch.equal(value, theirs[name]) for name, value in ours.items()
    )


def _weights(path: Path) -> Mapping[str, torch.Tensor]:
    content = read_tensors(path)
    weights = content.get("model") if isinstance(content, Mapping) else None
    if not isinstance(weights, Mapping):
        raise DataError(f"{path}: is not a model file of this program")
    return weights
