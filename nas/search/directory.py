"""Search directory: location of every file, the requests, and the process that runs the search.

It holds everything that is needed to resume, extend, report or reproduce a search. The formats
of single files belong to the modules that write them.
"""

import os
import platform
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from nas.search.request import REQUESTS, AnyRequest, request_from_dict
from nas.search.search_file import read_sections, write_sections
from nas.storage.driver_lock import Driver
from nas.storage.search_storage import LocalStorage, Note, open_storage
from nas.storage.study_storage import JOURNAL, StudyPlace
from search_spaces.architecture import Architecture
from search_spaces.errors import ConfigError
from search_spaces.files import remove_left_overs
from trials.candidate import candidate_in
from trials.evaluation.evaluated_images import subset_rule
from trials.result import (
    ARCHITECTURE_FILE,
    METRICS_FILE,
    RESULT_FILE,
    Outcome,
    TrialResult,
    load_outcome,
)
from trials.trial import REQUEST_FILE

SEARCH_FILE = "search.yaml"
PLAN_FILE = "plan.yaml"  # of `scrfd-nas search`
DEMO = "demo"  # folder of the demo's search
STAGES = tuple(REQUESTS)
_PACKAGES = ("scrfd-nas", "torch", "torchvision", "ray", "optuna", "numpy", "fvcore")
_LEFT_OVER_S = 3600.0  # longer than any command takes to write a file here


@dataclass(frozen=True)
class SearchDir:
    """A search directory by its root folder; creating the object touches no file.

    The root may be the local copy of a search at a URL (`storage`).
    """

    root: Path

    def __str__(self) -> str:
        return str(self.storage)

    @property
    def storage(self) -> LocalStorage:
        """The files of the search, local or at a URL."""
        return open_storage(self.root)

    @property
    def search_file(self) -> Path:
        """`search.yaml`: the requests of all stages and the versions that ran them."""
        return self.root / SEARCH_FILE

    @property
    def journal(self) -> Path:
        """Optuna's journal of all stages, unless they use a database (see `study_place`)."""
        return self.root / "study.journal"

    def study_place(self, stage: int) -> StudyPlace:
        """Return the location of a stage's study. Raises ConfigError: `search.yaml` is damaged."""
        return self.place_of(self.requests().get(stage))

    def place_of(self, request: AnyRequest | None) -> StudyPlace:
        """Return the location of the study of a stage with this request."""
        if request is None or request.storage == JOURNAL:
            return StudyPlace(journal=self.journal)
        return StudyPlace(journal=self.journal, url=request.storage, search=request.study)

    def stage_folder(self, stage: int) -> Path:
        """Return the folder of one stage."""
        return self.root / f"stage{stage}"

    def leaderboard_file(self, stage: int) -> Path:
        """Return the file of a stage's ranked table."""
        return self.stage_folder(stage) / "leaderboard.csv"

    def trial_folder(self, stage: int, number: int) -> Path:
        """Return the folder of one candidate."""
        return self.stage_folder(stage) / f"{number:04d}"

    def architecture_file(self, stage: int, number: int) -> Path:
        """Return the file of a candidate's architecture."""
        return self.trial_folder(stage, number) / ARCHITECTURE_FILE

    def recipe_file(self, stage: int, number: int) -> Path:
        """Return the file of a candidate's recipe, which only stage 3 searches."""
        return self.trial_folder(stage, number) / "recipe.yaml"

    def result_file(self, stage: int, number: int) -> Path:
        """Return the file of a candidate's result."""
        return self.trial_folder(stage, number) / RESULT_FILE

    def numbers(self, stage: int) -> list[int]:
        """Return the numbers of the stage's candidates, ascending."""
        names = [
            path.parent.name for path in self.stage_folder(stage).glob(f"*/{ARCHITECTURE_FILE}")
        ]
        return sorted(int(name) for name in names if name.isascii() and name.isdigit())

    def candidates(self, stage: int) -> dict[int, Architecture]:
        """Return the stage's candidates by number; raises the error of `architecture`."""
        return {number: self.architecture(stage, number) for number in self.numbers(stage)}

    def architecture(self, stage: int, number: int) -> Architecture:
        """Return a candidate, by the trial's request if the file of the architecture is damaged.

        Raises:
            ConfigError: the trial has not begun, or its request is damaged too.
        """
        folder = self.trial_folder(stage, number)
        try:
            return candidate_in(folder)
        except ConfigError as error:
            hint = "`scrfd-nas resume` writes it again"
            if (folder / REQUEST_FILE).exists():
                hint = f"put back a copy of it, or remove {folder}: the trial is then run again"
            raise ConfigError(f"{error}; {hint}") from error

    def outcome(self, stage: int, number: int) -> Outcome | None:
        """Return a candidate's outcome; None while it is unfinished or its record is damaged."""
        return outcome_in(self.trial_folder(stage, number))

    def outcomes(self, stage: int) -> dict[int, Outcome]:
        """Return the outcomes of all candidates that have one."""
        found = {number: self.outcome(stage, number) for number in self.numbers(stage)}
        return {number: outcome for number, outcome in found.items() if outcome is not None}

    def damaged_records(self, stage: int) -> list[str]:
        """Return one line for each recorded outcome that cannot be read, with the remedy."""
        lines = []
        for number in self.numbers(stage):
            try:
                load_outcome(self.trial_folder(stage, number))
            except ConfigError as error:
                remedy = f"`scrfd-nas resume` continues candidate {number} from its checkpoint"
                lines.append(f"{error}; {remedy} and writes the record again")
        return lines

    def seed_folder(self, stage: int, number: int, seed: int) -> Path:
        """Return the folder of a training with a seed of its own (`nas.results.confirm`)."""
        return self.trial_folder(stage, number) / "seeds" / str(seed)

    def hards_by_seed(self, stage: int, number: int) -> dict[int, float]:
        """Return the hard APs of a candidate's finished trainings with other seeds, by seed."""
        names = [path.name for path in (self.trial_folder(stage, number) / "seeds").glob("*")]
        hards = {}
        for seed in sorted(int(name) for name in names if name.isascii() and name.isdigit()):
            outcome = outcome_in(self.seed_folder(stage, number, seed))
            if isinstance(outcome, TrialResult):
                hards[seed] = outcome.hard
        return hards

    def epochs_done(self, stage: int, number: int) -> int:
        """Return the number of epochs that a candidate has trained, by its metrics file."""
        try:
            lines = (self.trial_folder(stage, number) / METRICS_FILE).read_bytes().count(b"\n")
        except OSError:
            return 0
        return max(0, lines - 1)

    def requests(self) -> dict[int, AnyRequest]:
        """Return the requests of all stages that were started; empty without a `search.yaml`.

        Raises:
            ConfigError: `search.yaml` is damaged.
        """
        return {
            stage: request_from_dict(stage, section["request"], f"{self.search_file}: stage{stage}")
            for stage, section in self._sections().items()
        }

    def origin(self, stage: int) -> dict[str, Any]:
        """Return when a stage was started (`created`) and by which versions (`versions`)."""
        section = self._sections().get(stage, {})
        return {key: value for key, value in section.items() if key != "request"}

    def write_request(self, request: AnyRequest) -> None:
        """Write a stage's request beside the versions that started the stage."""
        sections = self._sections()
        before = sections.get(request.stage, {})
        sections[request.stage] = {
            "request": request.to_dict(),
            "created": before.get("created", time.strftime("%Y-%m-%dT%H:%M:%S%z")),
            "versions": before.get("versions", package_versions()),
            "subsets": subset_rule(request.data, request.settings(threads=1).held_out),
        }
        write_sections(self.search_file, sections)

    def _sections(self) -> dict[int, dict[str, Any]]:
        return read_sections(self.search_file) if self.search_file.exists() else {}

    @contextmanager
    def held(self, stage: int, note: Note = lambda text: None) -> Iterator[None]:
        """Be the only driver of this directory during the block (see `LocalStorage.held`).

        Args:
            stage: the stage that this process runs.
            note: called with the reason for a long wait.

        Raises:
            BusyError: another driver is alive; the message says which.
            ConfigError: the root is a file.
            StoreError, LeaseLostError: at the end of a search at a URL.
        """
        if self.root.exists() and not self.root.is_dir():
            raise ConfigError(f"{self.root}: is not a folder; choose another --search-dir")
        self.root.mkdir(parents=True, exist_ok=True)
        driver = Driver(
            pid=os.getpid(), host=socket.gethostname(), stage=stage, started=time.time()
        )
        with self.storage.held(driver, note):
            for folder in (self.root, *map(self.stage_folder, STAGES)):
                remove_left_overs(folder, _LEFT_OVER_S)
            yield

    def driver(self) -> Driver | None:
        """Return the driver that is alive, or None (see `LocalStorage.driver`)."""
        return self.storage.driver()

    def refresh(self) -> None:
        """Fetch what is new at the URL, if there is one. Raises StoreError."""
        self.storage.refresh()

    def publish(self) -> None:
        """Upload what a command has written to the URL, if there is one. Raises StoreError."""
        self.storage.publish()

    def url_of(self, path: Path) -> str | None:
        """Return the URL of a file or folder of the search; None if it has none."""
        return self.storage.url_of(path)

    def witness(self, stage: int, number: int) -> str:
        """Return a file that a machine sees if it sees this search; empty for a URL."""
        file = self.architecture_file(stage, number)
        return "" if self.url_of(file) else str(file.resolve())


def outcome_in(folder: Path) -> Outcome | None:
    """Return the outcome recorded in a trial's folder; a damaged record counts as none."""
    try:
        return load_outcome(folder)
    except ConfigError:
        return None  # the trial continues from its checkpoint and writes the record again


def find_search_dir(given: Path | None, runs: Path = Path("runs")) -> SearchDir:
    """Return the given directory, or the only search below `runs`, with new files fetched.

    The search of `scrfd-nas demo` is taken only if there is no other.

    Raises:
        ConfigError: it holds no search, or `runs` holds none or several.
        StoreError: the store of its URL does not answer.
    """
    if given is not None:
        directory = SearchDir(given)
        directory.refresh()
        if not directory.search_file.is_file():
            raise ConfigError(f"{directory}: holds no search ({SEARCH_FILE} is missing)")
        return directory
    found = sorted(path.parent for path in runs.glob(f"[!.]*/{SEARCH_FILE}"))
    if len(found) > 1:
        found = [folder for folder in found if folder.name != DEMO]
    if len(found) == 1:
        return SearchDir(found[0])
    if not found:
        raise ConfigError(
            f"there is no search in {runs}/: give --search-dir, or start one with `scrfd-nas "
            "stage1 --flops 2.5G --data DIR`"
        )
    several = ", ".join(map(str, found))
    raise ConfigError(f"--search-dir is needed where {runs}/ holds several searches: {several}")


def package_versions() -> dict[str, str]:
    """Return the versions of Python and of the packages that affect results, by name."""
    found = {"python": platform.python_version()}
    for name in _PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "unknown"
    return found
