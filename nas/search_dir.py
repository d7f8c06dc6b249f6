"""The search directory: which file lies where, what was asked for, and who works in it.

Everything that is needed to resume, extend, report or reproduce a search lies here; the
formats of single files belong to the modules that write them.
"""

import json
import os
import platform
import socket
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import IO, Any

from nas.request import REQUESTS, AnyRequest, request_from_dict
from nas.study_storage import JOURNAL, StudyPlace
from search_spaces.architecture import Architecture, load_architecture
from search_spaces.checks import require_mapping
from search_spaces.errors import ConfigError, ScrfdNasError
from search_spaces.files import dump_yaml, read_yaml, remove_left_overs, write_text
from trials.metrics import METRICS_FILE
from trials.result import RESULT_FILE, Outcome, TrialResult, load_outcome

SEARCH_FILE = "search.yaml"
STAGES = tuple(REQUESTS)
_PACKAGES = ("scrfd-nas", "torch", "torchvision", "ray", "optuna", "numpy", "fvcore")
_LEFT_OVER_S = 3600.0  # longer than `report` and the like, which write here too, take for a file
_LOCK_WAIT_S = 2.0  # longer than another terminal's `status` holds it


class BusyError(ScrfdNasError):
    """Another process works in the search directory."""


@dataclass(frozen=True, kw_only=True)
class Driver:
    """The process that runs a search, as its lock file names it.

    Attributes:
        pid, host: of the process.
        stage: that it runs.
        started: seconds since 1970.
        epochs_before: epochs of the stage that were finished when it started.
    """

    pid: int
    host: str
    stage: int
    started: float
    epochs_before: int = 0


@dataclass(frozen=True)
class SearchDir:
    """A search directory by its root; creating one touches no file."""

    root: Path

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
        request = self.requests().get(stage)
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
    def held(self, stage: int) -> Iterator[None]:
        """Be the one driver of this directory; the system lets go of it if we are killed.

        Raises:
            BusyError: another driver is alive; the message says which.
            ConfigError: the root is a file.
        """
        if self.root.exists() and not self.root.is_dir():
            raise ConfigError(f"{self.root}: is not a folder; choose another --search-dir")
        self.root.mkdir(parents=True, exist_ok=True)
        with self.lock_file.open("a+", encoding="utf-8") as handle:
            _wait_for_lock(handle, self)
            before = sum(self.epochs_done(stage, number) for number in self.numbers(stage))
            driver = Driver(
                pid=os.getpid(),
                host=socket.gethostname(),
                stage=stage,
                started=time.time(),
                epochs_before=before,
            )
            for folder in (self.root, *map(self.stage_folder, STAGES)):
                remove_left_overs(folder, _LEFT_OVER_S)
            _write(handle, json.dumps(asdict(driver)))
            try:
                yield
            finally:
                _write(handle, "")

    def driver(self) -> Driver | None:
        """The driver that is alive, None if there is none."""
        try:
            with self.lock_file.open(encoding="utf-8") as handle:
                return None if _is_free(handle) else _parse_driver(handle.read())
        except OSError:
            return None


def _outcome_in(folder: Path) -> Outcome | None:
    try:
        return load_outcome(folder)
    except ConfigError:
        return None  # it trains again from its checkpoint, and writes the record anew


def find_search_dir(given: Path | None, runs: Path = Path("runs")) -> SearchDir:
    """The directory given, or the only search below `runs`.

    Raises:
        ConfigError: it holds no search, or the choice is not clear.
    """
    if given is not None:
        if not (given / SEARCH_FILE).is_file():
            raise ConfigError(f"{given}: holds no search ({SEARCH_FILE} is missing)")
        return SearchDir(given)
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


def _wait_for_lock(handle: IO[str], directory: SearchDir) -> None:
    import fcntl

    deadline = time.monotonic() + _LOCK_WAIT_S
    while True:
        try:
            fcntl.flock(handle.fileno(), fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except BlockingIOError:
            if time.monotonic() >= deadline:
                raise BusyError(_busy_text(directory)) from None
            time.sleep(0.05)


def _busy_text(directory: SearchDir) -> str:
    driver = directory.driver()
    who = "another process"
    if driver:
        since = time.strftime("%Y-%m-%d %H:%M", time.localtime(driver.started))
        who = f"process {driver.pid} on {driver.host} (stage {driver.stage}, since {since})"
    return f"{directory.root}: {who} works here; wait for it or stop it"


def _is_free(handle: IO[str]) -> bool:
    """Whether nobody holds the lock; asks with a shared one, which is given back at once."""
    import fcntl

    try:
        fcntl.flock(handle.fileno(), fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    fcntl.flock(handle.fileno(), fcntl.LOCK_UN)
    return True


def _parse_driver(text: str) -> Driver | None:
    try:
        return Driver(**json.loads(text))
    except (ValueError, TypeError):
        return None


def _write(handle: IO[str], text: str) -> None:
    handle.seek(0)
    handle.truncate()
    handle.write(text)
    handle.flush()


def package_versions() -> dict[str, str]:
    """What runs now: Python and the packages that decide a result, by name."""
    found = {"python": platform.python_version()}
    for name in _PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "unknown"
    return found
