"""Recorded learning curves of a finished search: the input of a replay."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from nas.search.directory import SEARCH_FILE, SearchDir
from reports.curves import Curve, read_curve, read_curves
from search_spaces.architecture import Architecture
from search_spaces.errors import ConfigError, DataError


@dataclass(frozen=True, kw_only=True)
class Recording:
    """The candidates of a finished search.

    Attributes:
        epochs: epochs of a complete training.
        architectures: architectures by candidate.
        hard: hard AP by candidate and evaluated epoch, the last epoch always included.
    """

    epochs: int
    architectures: Mapping[int, Architecture]
    hard: Mapping[int, Mapping[int, float]]

    @property
    def numbers(self) -> tuple[int, ...]:
        """The candidates, ascending."""
        return tuple(sorted(self.hard))

    @property
    def total_epochs(self) -> int:
        """Epochs that training every candidate to the end takes."""
        return self.epochs * len(self.hard)

    @property
    def best_number(self) -> int:
        """The candidate with the highest final hard AP."""
        return max(self.numbers, key=self.final)

    @property
    def best(self) -> float:
        """The highest final hard AP of all candidates."""
        return self.final(self.best_number)

    def final(self, number: int) -> float:
        """Return the hard AP of a candidate after the last epoch."""
        return self.hard[number][self.epochs]

    def evaluated(self) -> tuple[int, ...]:
        """Return the epochs after which every candidate was evaluated, ascending."""
        return tuple(sorted(set.intersection(*(set(values) for values in self.hard.values()))))


def record(curves: Iterable[Curve], epochs: int | None = None) -> tuple[Recording, list[int]]:
    """Return the recording of the complete curves, and the numbers of the other candidates.

    Args:
        curves: curves in any order.
        epochs: epochs of a complete training; None: the last epoch of any curve.

    Raises:
        DataError: fewer than two curves are complete, or a candidate has two.
    """
    by_number: dict[int, Curve] = {}
    for curve in curves:
        if curve.candidate in by_number:
            raise DataError(f"candidate {curve.candidate} has two curves")
        by_number[curve.candidate] = curve
    last = epochs or max((epoch for c in by_number.values() for epoch in c.hard), default=0)
    complete = {number: curve for number, curve in by_number.items() if last in curve.hard}
    if len(complete) < 2:
        raise DataError(
            f"a replay needs two candidates or more that were evaluated after epoch {last}, the "
            f"last one; {len(complete)} of {len(by_number)} were"
        )
    recording = Recording(
        epochs=last,
        architectures={number: curve.architecture for number, curve in complete.items()},
        hard={number: dict(curve.hard) for number, curve in complete.items()},
    )
    return recording, sorted(set(by_number) - set(complete))


def load_curves(path: Path, stage: int) -> tuple[list[Curve], int | None]:
    """Return the curves of a search directory or CSV file, and the epochs of a complete one.

    A file does not say how many those are: None.

    Raises:
        ConfigError: `path` holds no search, or the stage has not begun.
        DataError: a file is damaged.
    """
    if not path.is_dir():
        return read_curves(path), None
    if not (path / SEARCH_FILE).is_file():
        raise ConfigError(f"{path}: holds no search ({SEARCH_FILE} is missing)")
    directory = SearchDir(path)
    request = directory.requests().get(stage)
    if request is None:
        raise ConfigError(f"{directory}: stage {stage} has not begun")
    curves = [
        read_curve(directory.trial_folder(stage, number), number, architecture)
        for number, architecture in directory.candidates(stage).items()
    ]
    return curves, request.epochs


def load_recording(path: Path, stage: int) -> tuple[Recording, list[int]]:
    """Return `record` of the curves of a search directory or CSV file.

    Raises:
        ConfigError, DataError: see `load_curves` and `record`.
    """
    curves, epochs = load_curves(path, stage)
    try:
        return record(curves, epochs)
    except DataError as error:
        raise DataError(f"{path}: {error}") from error


def splice(recording: Recording, short: Sequence[Recording]) -> tuple[Recording, Recording]:
    """Combine a recording with complete short trainings of the same candidates.

    Returns:
        The recording of the candidates that all have, and the same with the values of the short
        trainings: an epoch has the value of the shortest training of at least so many epochs, as
        in a trial that continues from one complete schedule into a longer one.

    Raises:
        DataError: a training is not shorter, has as many epochs as another one or other
            architectures, or fewer than two candidates are shared.
    """
    shared = set(recording.hard).intersection(*(other.hard for other in short))
    if len(shared) < 2:
        raise DataError("the short schedules share fewer than two candidates with the search")
    for other in short:
        _check_short(recording, other, shared)
    lengths = [other.epochs for other in short]
    if len(set(lengths)) < len(lengths):
        raise DataError(f"the short schedules must differ in their epochs, got {sorted(lengths)}")
    spliced: dict[int, dict[int, float]] = {number: {} for number in sorted(shared)}
    start = 0
    for other in (*sorted(short, key=lambda item: item.epochs), recording):
        for number, values in spliced.items():
            curve = other.hard[number]
            values |= {epoch: hard for epoch, hard in curve.items() if start < epoch}
        start = other.epochs
    architectures = {number: recording.architectures[number] for number in spliced}
    whole = {number: recording.hard[number] for number in spliced}
    first = Recording(epochs=recording.epochs, architectures=architectures, hard=whole)
    return first, Recording(epochs=recording.epochs, architectures=architectures, hard=spliced)


def _check_short(recording: Recording, other: Recording, shared: Collection[int]) -> None:
    what = f"the schedule of {other.epochs} epochs"
    if other.epochs >= recording.epochs:
        raise DataError(f"{what} must be shorter than the whole one of {recording.epochs}")
    different = [n for n in shared if other.architectures[n] != recording.architectures[n]]
    if different:
        raise DataError(f"{what} has other architectures under the numbers {sorted(different)}")
