"""The search directory: which file lies where, what was asked for, and who works in it.

Everything that is needed to resume, extend, report or reproduce a search lies here; the
formats of single files belong to the modules that write them.
"""

import os
import platform
import socket
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from nas.search.request import REQUESTS, AnyRequest, request_from_dict
from nas.storage.driver_lock import Driver, busy, is_locked, lock, parse_driver, write_driver
from nas.storage.lease import HeldError, described
from nas.storage.study_storage import JOURNAL, StudyPlace
from nas.storage.working_copy import WorkingCopy, working_copy
from search_spaces.architecture import Architecture, load_architecture
from search_spaces.checks import require_mapping
from search_spaces.errors import ConfigError
from search_spaces.files import dump_yaml, read_yaml, remove_left_overs, write_text
from trials.result import RESULT_FILE, Outcome, TrialResult, load_outcome
from trials.training.metrics import METRICS_FILE

SEARCH_FILE = "search.yaml"
STAGES = tuple(REQUESTS)
_PACKAGES = ("scrfd-nas", "torch", "torchvision", "ray", "optuna", "numpy", "fvcore")
_LEFT_OVER_S = 3600.0  # longer than `report` and the like, which write here too, take for a file


def _tell_nobody(text: str) -> None:
    """Tells nobody."""


@dataclass(frozen=True)
class SearchDir:
    """A search directory by its root; creating one touches no file.

    The root may be the working copy of a search at a URL (`nas.storage`).
    """

    root: Path

    def __str__(self) -> str:
        """Where the search lies, for people: its URL or the root."""
        copy = self.working_copy
        return str(self.root) if copy is None else copy.url

    @property
    def working_copy(self) -> WorkingCopy | None:
        """What keeps the root the same as a URL, if it belongs to one."""
        return working_copy(self.root)

    @property
    def search_file(self) -> Path:
        """`search.yaml`: the requests of both stages and the versions that ran them."""
        return self.root / SEARCH_FILE

    @property
    def journal(self) -> Path:
        """Optuna's storage, all stages, unless they have another (see `study_place`)."""
        return self.root / "study.journal"

    def study_place(self, stage: int) -> StudyPlace:
        """Where the study of a stage is kept. Raises ConfigError: `search.yaml` is damaged."""
        return self.place_of(self.requests().get(stage))

    def place_of(self, request: AnyRequest | None) -> StudyPlace:
        """Where the study of a stage with this request is, or will be, kept."""
        if request is None or request.storage == JOURNAL:
            return StudyPlace(journal=self.journal)
        return StudyPlace(journal=self.journal, url=request.storage, search=request.study)

    @property
    def lock_file(self) -> Path:
        """Held (flock) by the driver while it runs; names it."""
        return self.root / "driver.lock"

    def stage_folder(self, stage: int) -> Path:
        """Everything of one stage."""
        return self.root / f"stage{stage}"

    def leaderboard_file(self, stage: int) -> Path:
        """The ranked table of one stage."""
        return self.stage_folder(stage) / "leaderboard.csv"

    def trial_folder(self, stage: int, number: int) -> Path:
        """Everything of one candidate."""
        return self.stage_folder(stage) / f"{number:04d}"

    def architecture_file(self, stage: int, number: int) -> Path:
        """The candidate itself."""
        return self.trial_folder(stage, number) / "architecture.yaml"

    def recipe_file(self, stage: int, number: int) -> Path:
        """The candidate's recipe, where it is the recipe that is searched (stage 3)."""
        return self.trial_folder(stage, number) / "recipe.yaml"

    def result_file(self, stage: int, number: int) -> Path:
        """What became of a candidate."""
        return self.trial_folder(stage, number) / RESULT_FILE

    def numbers(self, stage: int) -> list[int]:
        """The numbers of the stage's candidates, ascending."""
        names = [path.parent.name for path in self.stage_folder(stage).glob("*/architecture.yaml")]
        return sorted(int(name) for name in names if name.isascii() and name.isdigit())

    def candidates(self, stage: int) -> dict[int, Architecture]:
        """The stage's candidates by number. Raises ConfigError if a file is damaged."""
        files = {number: self.architecture_file(stage, number) for number in self.numbers(stage)}
        return {number: load_architecture(path) for number, path in files.items()}

    def outcome(self, stage: int, number: int) -> Outcome | None:
        """What became of a candidate; None while it is unfinished or its record is damaged."""
        return _outcome_in(self.trial_folder(stage, number))

    def outcomes(self, stage: int) -> dict[int, Outcome]:
        """The outcomes of all candidates that have one."""
        found = {number: self.outcome(stage, number) for number in self.numbers(stage)}
        return {number: outcome for number, outcome in found.items() if outcome is not None}

    def seed_folder(self, stage: int, number: int, seed: int) -> Path:
        """Of a candidate's training with another seed than the search's (`nas.results.confirm`)."""
        return self.trial_folder(stage, number) / "seeds" / str(seed)

    def hards_by_seed(self, stage: int, number: int) -> dict[int, float]:
        """Hard APs of a candidate's finished trainings with other seeds, by seed."""
        names = [path.name for path in (self.trial_folder(stage, number) / "seeds").glob("*")]
        hards = {}
        for seed in sorted(int(name) for name in names if name.isascii() and name.isdigit()):
            outcome = _outcome_in(self.seed_folder(stage, number, seed))
            if isinstance(outcome, TrialResult):
                hards[seed] = outcome.hard
        return hards

    def epochs_done(self, stage: int, number: int) -> int:
        """Epochs that a candidate has behind it, by its metrics file."""
        try:
            lines = (self.trial_folder(stage, number) / METRICS_FILE).read_bytes().count(b"\n")
        except OSError:
            return 0
        return max(0, lines - 1)

    def requests(self) -> dict[int, AnyRequest]:
        """The requests of the stages begun so far; empty if this is no search directory.

        Raises:
            ConfigError: `search.yaml` is damaged.
        """
        return {
            stage: request_from_dict(stage, section["request"], f"{self.search_file}: stage{stage}")
            for stage, section in self._sections().items()
        }

    def origin(self, stage: int) -> dict[str, Any]:
        """When a stage was begun (`created`), and by which versions (`versions`), if known."""
        section = self._sections().get(stage, {})
        return {key: value for key, value in section.items() if key != "request"}

    def write_request(self, request: AnyRequest) -> None:
        """Record what a stage was asked for, beside the versions that ran it first."""
        sections = self._sections()
        before = sections.get(request.stage, {})
        sections[request.stage] = {
            "request": request.to_dict(),
            "created": before.get("created", time.strftime("%Y-%m-%dT%H:%M:%S%z")),
            "versions": before.get("versions", package_versions()),
        }
        content = {f"stage{stage}": sections[stage] for stage in sorted(sections)}
        write_text(self.search_file, dump_yaml(content))

    def _sections(self) -> dict[int, dict[str, Any]]:
        if not self.search_file.exists():
            return {}
        content = read_yaml(self.search_file)
        names = {f"stage{stage}": stage for stage in REQUESTS}
        sections = require_mapping(content, str(self.search_file), names)
        for name, section in sections.items():
            if not isinstance(section, Mapping) or "request" not in section:
                raise ConfigError(f"{self.search_file}: {name} lacks its request")
        return {names[name]: dict(section) for name, section in sections.items()}

    @contextmanager
    def held(self, stage: int, note: Callable[[str], None] = _tell_nobody) -> Iterator[None]:
        """Be the one driver of this directory; the system lets go of it if we are killed.

        At a URL it is a lease that lets go, and what changes is put there meanwhile.

        Args:
            stage: that this process runs.
            note: hears why it takes long to begin.

        Raises:
            BusyError: another driver is alive; the message says which.
            ConfigError: the root is a file.
            StoreError, LeaseLostError: on leaving (see `WorkingCopy.held`).
        """
        if self.root.exists() and not self.root.is_dir():
            raise ConfigError(f"{self.root}: is not a folder; choose another --search-dir")
        self.root.mkdir(parents=True, exist_ok=True)
        with self.lock_file.open("a+", encoding="utf-8") as handle:
            lock(handle, self)
            started = time.time()
            with self._held_at_url(lambda: asdict(self._this_driver(stage, started)), note):
                for folder in (self.root, *map(self.stage_folder, STAGES)):
                    remove_left_overs(folder, _LEFT_OVER_S)
                write_driver(handle, self._this_driver(stage, started))
                try:
                    yield
                finally:
                    write_driver(handle, None)

    @contextmanager
    def _held_at_url(
        self, describe: Callable[[], Mapping[str, Any]], note: Callable[[str], None]
    ) -> Iterator[None]:
        copy = self.working_copy
        try:
            with copy.held(describe, note) if copy else nullcontext():
                yield
        except HeldError as error:
            raise busy(self, described(error.who)) from None

    def _this_driver(self, stage: int, started: float) -> Driver:
        before = sum(self.epochs_done(stage, number) for number in self.numbers(stage))
        return Driver(
            pid=os.getpid(),
            host=socket.gethostname(),
            stage=stage,
            started=started,
            epochs_before=before,
        )

    def driver(self) -> Driver | None:
        """The driver that is alive, None if there is none; at a URL, as of `refresh`."""
        with suppress(OSError), self.lock_file.open(encoding="utf-8") as handle:
            if is_locked(handle):
                return parse_driver(handle.read())
        copy = self.working_copy
        return parse_driver(copy.driver()) if copy else None

    def is_held_here(self) -> bool:
        """Whether a driver works in this very folder."""
        with suppress(OSError), self.lock_file.open(encoding="utf-8") as handle:
            return is_locked(handle)
        return False

    def refresh(self) -> None:
        """Fetch what is new at the URL, if there is one; a driver in this folder does so itself.

        Raises:
            StoreError: the store does not answer.
        """
        copy = self.working_copy
        while copy is not None and not self.is_held_here():
            if copy.refresh():
                return

    def publish(self) -> None:
        """Put to the URL, if there is one, what a command has written without being the driver."""
        copy = self.working_copy
        if copy is not None and not self.is_held_here():
            copy.publish()

    def bring(self, folder: Path, *, later: bool = False) -> None:
        """As the driver, fetch a trial's files from the URL, if there is one (see there)."""
        copy = self.working_copy
        if copy is not None:
            copy.bring(folder, later=later)

    def check_held(self) -> None:
        """As the driver, raise what keeps it from going on (see `WorkingCopy.check`)."""
        copy = self.working_copy
        if copy is not None:
            copy.check()

    def remove(self, path: Path) -> None:
        """Take a file away, also at the URL, if there is one."""
        copy = self.working_copy
        if copy is None:
            path.unlink(missing_ok=True)
        else:
            copy.remove(path)

    def url_of(self, path: Path) -> str | None:
        """Of a file or folder of the search; None where it lies in no store."""
        copy = self.working_copy
        return None if copy is None else copy.url_of(path)

    def witness(self, stage: int, number: int) -> str:
        """A file that a machine sees if it sees this search; empty where it lies in a store."""
        file = self.architecture_file(stage, number)
        return "" if self.url_of(file) else str(file.resolve())


def _outcome_in(folder: Path) -> Outcome | None:
    try:
        return load_outcome(folder)
    except ConfigError:
        return None  # it trains again from its checkpoint, and writes the record anew


def find_search_dir(given: Path | None, runs: Path = Path("runs")) -> SearchDir:
    """The directory given, or the only search below `runs`; what is new at its URL is fetched.

    Raises:
        ConfigError: it holds no search, or the choice is not clear.
        StoreError: it lies in a store, which does not answer.
    """
    if given is not None:
        directory = SearchDir(given)
        directory.refresh()
        if not directory.search_file.is_file():
            raise ConfigError(f"{directory}: holds no search ({SEARCH_FILE} is missing)")
        return directory
    found = sorted(path.parent for path in runs.glob(f"*/{SEARCH_FILE}"))
    if len(found) == 1:
        return SearchDir(found[0])
    if not found:
        raise ConfigError(
            f"no search lies in {runs}/: give --search-dir, or begin one with `scrfd-nas stage1 "
            "--flops 2.5G --data DIR`"
        )
    several = ", ".join(map(str, found))
    raise ConfigError(f"--search-dir is needed where {runs}/ holds several searches: {several}")


def package_versions() -> dict[str, str]:
    """What runs now: Python and the packages that decide a result, by name."""
    found = {"python": platform.python_version()}
    for name in _PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "unknown"
    return found
