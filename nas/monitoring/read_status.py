"""Status of a stage from its files, or as its driver displays it; any terminal can ask for it."""

import time
import typing
from pathlib import Path
from typing import Any

from nas.monitoring.counts import StageCounts
from nas.monitoring.status import StageStatus, TrialStatus
from nas.search.directory import SearchDir
from search_spaces.checks import require_fields
from search_spaces.errors import ConfigError
from search_spaces.files import read_json, write_json
from trials.result import EpochReport
from trials.training.metrics import read_metrics

_STATUS_FILE = "status.json"


def write_displayed(status: StageStatus, root: Path) -> None:
    """Write the status that a driver displays into its search directory, for other terminals."""
    write_json(root / _STATUS_FILE, status.to_dict())


def read_displayed(directory: SearchDir, stage: int) -> StageStatus | None:
    """Return the status that the driver of a stage displays; None without such a driver."""
    driver = directory.driver()
    if driver is None or driver.stage != stage:
        return None
    try:
        content = _typed(StageStatus, read_json(directory.root / _STATUS_FILE))
        content["trials"] = tuple(TrialStatus(**_typed(TrialStatus, t)) for t in content["trials"])
        status = StageStatus(**content)
    except (ConfigError, KeyError, TypeError):
        return None
    # An older one is that of an earlier run.
    return status if status.stage == stage and status.updated >= driver.started else None


def _typed(cls: type[Any], content: Any) -> dict[str, Any]:
    """Return plain data as fields of a dataclass; raises ConfigError unless their types agree."""
    values = require_fields(cls, content, _STATUS_FILE)
    kinds = typing.get_type_hints(cls) | {"trials": list}
    # JSON may hold a whole number where a dataclass has a float.
    kinds |= {name: kind | int for name, kind in kinds.items() if isinstance(0.5, kind)}
    wrong = [name for name, value in values.items() if not isinstance(value, kinds[name])]
    if wrong:
        raise ConfigError(f"{_STATUS_FILE}: {wrong} must have the types that this program writes")
    return values


def read_status(directory: SearchDir, stage: int) -> StageStatus:
    """Return the status of a stage now. Raises ConfigError if `search.yaml` is damaged."""
    if displayed := read_displayed(directory, stage):
        return displayed
    request, driver = directory.requests()[stage], directory.driver()
    counts = StageCounts(
        stage=stage,
        epochs=request.epochs,
        done={n: directory.epochs_done(stage, n) for n in directory.numbers(stage)},
        outcomes=directory.outcomes(stage),
    )
    for number in counts.begun:
        for report in _reports(directory.trial_folder(stage, number), request.epochs):
            counts.report(number, **{**vars(report), "aps": None, "hard": report.hard})
    active = driver is not None and driver.stage == stage
    return counts.status(pace=None, active=active, now=time.time())


def _reports(folder: Path, epochs: int) -> list[EpochReport]:
    """Return the epochs of an unfinished trial; none if its file is damaged."""
    try:
        return read_metrics(folder, epochs)
    except (ValueError, KeyError, TypeError):
        return []
