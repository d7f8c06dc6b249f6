"""One trial as plain data, the callbacks of its run, and the folder that belongs to it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

from search_spaces.architecture import Architecture
from search_spaces.errors import ConfigError, IncomparableError
from search_spaces.files import read_json, write_json
from trials.fingerprint import data_fingerprint, differences, request_fingerprint
from trials.recipe import Recipe
from trials.result import EpochReport
from trials.settings import TrialSettings

REQUEST_FILE = "request.json"

OnEpoch: TypeAlias = Callable[[EpochReport], None]
OnStep: TypeAlias = Callable[[int, int], None]
ShouldStop: TypeAlias = Callable[[], bool]


@dataclass(frozen=True, kw_only=True)
class Trial:
    """Immutable inputs of one trial.

    Attributes:
        architecture: the candidate.
        recipe: how it is trained.
        data_root: folder with `train` and `val` in the labelv2 layout.
        settings: length, image size, seed, and the resources to use.
    """

    architecture: Architecture
    recipe: Recipe
    data_root: Path
    settings: TrialSettings

    def request(self) -> dict[str, Any]:
        """Return everything that decides the trial's result as plain data.

        Raises:
            DataError: the data folder does not exist.
        """
        content = self.architecture.to_dict()
        content.pop("name", None)
        return {
            "architecture": content,
            "recipe": self.recipe.to_dict(),
            "settings": self.settings.comparable(),
            "data": data_fingerprint(self.data_root),
        }

    def default_folder(self) -> Path:
        """Return `runs/trials/<name>-<request>`, which differs between any two requests."""
        label = "".join(c if c.isalnum() or c in "._" else "_" for c in self.architecture.name)
        fingerprint = request_fingerprint(self.request())
        name = f"{label or self.architecture.content_hash}-{fingerprint[:8]}"
        return Path("runs", "trials", name)


@dataclass(frozen=True, kw_only=True)
class Callbacks:
    """Functions that a running trial calls; each is optional.

    Attributes:
        on_epoch: called after every epoch, when its checkpoint is on disk.
        on_step: called after every iteration with (iterations done, iterations in total).
        should_stop: called after every iteration and every evaluated image; True saves the
            training as it is and raises TrialInterrupted.
    """

    on_epoch: OnEpoch | None = None
    on_step: OnStep | None = None
    should_stop: ShouldStop | None = None


NO_CALLBACKS = Callbacks()


def claim(folder: Path, request: Mapping[str, Any]) -> None:
    """Record `request` in `folder`, or check that it is the one recorded there.

    Raises:
        IncomparableError: the folder belongs to another request; lists the differences.
        ConfigError: its `request.json` is damaged.
    """
    path = folder / REQUEST_FILE
    if not path.exists():
        write_json(path, request)
        return
    try:
        recorded = read_json(path)
    except ConfigError as error:
        hint = "remove it to continue from the checkpoint, which names its request too"
        raise ConfigError(f"{error}; {hint}") from error
    changed = differences(recorded, request)
    if changed:
        raise IncomparableError(
            f"{folder}: holds a trial of another request; choose another folder or remove it. "
            f"Different: {'; '.join(changed)}"
        )
