"""Populations of several searches, and the differences that make them incomparable."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nas.search.directory import find_search_dir
from nas.search.options import MACHINE
from nas.search.request import AnyRequest
from reports.statistics.comparison import Population
from search_spaces.errors import ConfigError
from trials.fingerprint import differences
from trials.options import option_fields
from trials.result import TrialResult

# Options that must be equal for hard APs to be comparable.
_SAME = ("data", "recipe", "epochs", "image_size", "precision", "flops", "select_on", "rungs")


@dataclass(frozen=True, kw_only=True)
class Found:
    """Populations of several searches, and how their options differ.

    Attributes:
        populations: the finished candidates of each stage that has any.
        warnings: what is left out, and which populations are not comparable, with the options.
        notes: which populations are comparable, with the options that differ.
    """

    populations: tuple[Population, ...]
    warnings: tuple[str, ...]
    notes: tuple[str, ...]


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
    notes: list[str] = []
    for label, request in requests[1:]:
        is_comparable, text = relation(requests[0][1], request)
        sentence = f"{requests[0][0]} and {label} are {text}"
        (notes if is_comparable else warnings).append(sentence)
    return Found(populations=tuple(populations), warnings=tuple(warnings), notes=tuple(notes))


def _names(directories: Sequence[Path]) -> list[str]:
    """Return short names if they are distinct, otherwise the paths as given."""
    resolved = [path.resolve() for path in directories]
    if len(set(resolved)) < len(resolved):
        raise ConfigError("a search cannot be compared with itself: a folder is given twice")
    short = [path.name for path in resolved]
    return short if len(set(short)) == len(short) else [str(path) for path in directories]


def relation(first: AnyRequest, second: AnyRequest) -> tuple[bool, str]:
    """Return whether hard APs of two requests are comparable, and the options that differ."""
    one, two = _options(first), _options(second)
    if first.data_fingerprint == second.data_fingerprint:
        two["data"] = one["data"]  # the same data at two places
    elif first.data == second.data:
        two["data"] += " (changed in between)"
    changed = {key: differences(one.get(key), two.get(key), key) for key in {**one, **two}}
    reasons = [line for key in _SAME for line in changed[key]]
    if reasons:
        return False, f"not comparable: {'; '.join(reasons)}"
    others = [line for lines in changed.values() for line in lines]
    text = f"they differ in {'; '.join(others)}" if others else "all options are equal"
    return True, f"comparable; {text}"


def _options(request: AnyRequest) -> dict[str, Any]:
    """Return the options that may affect the result."""
    left_out = {i.name for i in option_fields(type(request)) if i.option.panel == MACHINE}
    left_out |= {"data_fingerprint", "template_hash", "study"}
    return {key: value for key, value in request.to_dict().items() if key not in left_out}
