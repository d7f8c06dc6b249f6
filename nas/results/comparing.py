"""Populations of several searches, and the differences that make them incomparable."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from nas.search.directory import find_search_dir
from nas.search.request import AnyRequest
from reports.statistics.comparison import Population
from search_spaces.errors import ConfigError
from trials.fingerprint import differences
from trials.result import TrialResult

# Settings that must be equal for hard APs to be comparable.
_SAME = ("data_fingerprint", "recipe", "epochs", "image_size", "precision", "flops")
_SAME_IF_KNOWN = ("select_on", "scheduler", "rungs")


@dataclass(frozen=True, kw_only=True)
class Found:
    """Populations of several searches, and reasons not to compare them."""

    populations: tuple[Population, ...]
    warnings: tuple[str, ...]


def read_populations(directories: Sequence[Path], stage: int | None = None) -> Found:
    """Return the finished candidates of every stage (or one `stage`) of the searches.

    Raises:
        ConfigError: A folder holds no search, is given twice, or its `search.yaml` is damaged.
    """
    names = _names(directories)
    populations: list[Population] = []
    requests: list[tuple[str, AnyRequest]] = []
    warnings = []
    for path, name in zip(directories, names, strict=True):
        directory = find_search_dir(path)
        for number, request in sorted(directory.requests().items()):
            if stage not in (None, number):
                continue
            label = f"{name}, stage {number}"
            outcomes = directory.outcomes(number).values()
            hard = tuple(o.hard for o in outcomes if isinstance(o, TrialResult))
            if not hard:
                warnings.append(f"{label} has no finished candidate and is left out")
                continue
            populations.append(Population(name=label, hard=hard))
            requests.append((label, request))
    return Found(populations=tuple(populations), warnings=(*warnings, *contradictions(requests)))


def _names(directories: Sequence[Path]) -> list[str]:
    """Return short names if they are distinct, otherwise the paths as given."""
    resolved = [path.resolve() for path in directories]
    if len(set(resolved)) < len(resolved):
        raise ConfigError("a search cannot be compared with itself: a folder is given twice")
    short = [path.name for path in resolved]
    return short if len(set(short)) == len(short) else [str(path) for path in directories]


def contradictions(requests: Sequence[tuple[str, AnyRequest]]) -> list[str]:
    """Return the differences between the first request and every other one as text."""
    if not requests:
        return []
    first_name, first = requests[0]
    found = []
    for name, request in requests[1:]:
        changed = differences(_settings(first), _settings(request))
        if changed:
            found.append(f"{first_name} and {name} differ in {'; '.join(changed)}")
    return found


def _settings(request: AnyRequest) -> dict[str, object]:
    content = request.to_dict()
    known = [name for name in _SAME_IF_KNOWN if name in content]
    return {name: content[name] for name in (*_SAME, *known)}
