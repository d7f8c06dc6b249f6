"""Where a simulation's curves come from: searches and files of curves."""

from collections.abc import Iterable, Sequence
from pathlib import Path

from nas.planning.simulation import Recording, recorded
from nas.search.directory import SEARCH_FILE, SearchDir
from reports.curves import Curve, read_curve, read_curves
from search_spaces.errors import ConfigError, DataError


def search_curves(directory: SearchDir, stage: int) -> tuple[list[Curve], int]:
    """The curves of a stage's candidates as far as they go, and the epochs of a whole one.

    Raises:
        ConfigError: the stage has not begun, or `search.yaml` is damaged.
        DataError: a candidate's metrics are damaged.
    """
    request = directory.requests().get(stage)
    if request is None:
        raise ConfigError(f"{directory}: stage {stage} has not begun")
    curves = [
        read_curve(directory.trial_folder(stage, number), number, architecture)
        for number, architecture in directory.candidates(stage).items()
    ]
    return curves, request.epochs


def load_curves(path: Path, stage: int) -> tuple[list[Curve], int | None]:
    """The curves of a search directory or of a file; a file does not say how long a whole one is.

    Raises:
        ConfigError, DataError: it is neither, or damaged.
    """
    if path.is_dir():
        if not (path / SEARCH_FILE).is_file():
            raise ConfigError(f"{path}: holds no search ({SEARCH_FILE} is missing)")
        return search_curves(SearchDir(path), stage)
    return read_curves(path), None


def load_recording(path: Path, stage: int) -> tuple[Recording, list[int]]:
    """What can be replayed of a search or file, and the candidates that were left out.

    Raises:
        ConfigError, DataError: see `load_curves` and `nas.planning.simulation.recorded`.
    """
    curves, epochs = load_curves(path, stage)
    try:
        return recorded(curves, epochs)
    except DataError as error:
        raise DataError(f"{path}: {error}") from error


def with_short_schedules(
    recording: Recording, short: Iterable[Recording]
) -> tuple[Recording, dict[int, Recording]]:
    """The candidates that all schedules have, and the shorter ones by their epochs.

    Raises:
        DataError: a schedule stands twice or is of other candidates, or too few are shared.
    """
    by_epochs: dict[int, Recording] = {}
    for other in short:
        if other.epochs in by_epochs:
            raise DataError(f"two short schedules have {other.epochs} epochs")
        by_epochs[other.epochs] = other
    common = set(recording.hard).intersection(*(other.hard for other in by_epochs.values()))
    if len(common) < 2:
        raise DataError("the short schedules share fewer than two candidates with the search")
    for epochs, other in by_epochs.items():
        strange = [n for n in common if other.architectures[n] != recording.architectures[n]]
        if strange:
            raise DataError(
                f"the schedule of {epochs} epochs has other architectures under the numbers "
                f"{sorted(strange)}"
            )
    return only(recording, sorted(common)), by_epochs


def only(recording: Recording, numbers: Sequence[int]) -> Recording:
    """The recording of some of the candidates."""
    return Recording(
        epochs=recording.epochs,
        architectures={number: recording.architectures[number] for number in numbers},
        hard={number: recording.hard[number] for number in numbers},
    )
