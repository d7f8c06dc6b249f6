"""Resolve a user's reference to a candidate to its Architecture."""

from pathlib import Path

from search_spaces.architecture import Architecture, load_architecture
from search_spaces.errors import ConfigError
from search_spaces.files import read_json
from search_spaces.zoo import resolve_architecture
from trials.result import ARCHITECTURE_FILE, BEST
from trials.trial import REQUEST_FILE


def resolve_candidate(reference: str) -> Architecture:
    """Return the architecture of a built-in name, YAML file, model file (.pt) or trial folder.

    Raises:
        ConfigError: the reference is none of these.
        DataError: the model file is damaged.
    """
    path = Path(reference)
    if path.suffix == ".pt" and not path.is_dir():
        return _architecture_in(path)
    if not path.is_dir():
        return resolve_architecture(reference)
    if (path / ARCHITECTURE_FILE).is_file():
        return candidate_in(path)
    if (path / BEST).is_file():
        return _architecture_in(path / BEST)
    raise ConfigError(f"{path}: holds no candidate, neither {ARCHITECTURE_FILE} nor {BEST}")


def candidate_in(folder: Path) -> Architecture:
    """Return the architecture that a trial's folder records in its own file, or in its request.

    Raises:
        ConfigError: the file is missing or damaged, and there is no whole request either.
    """
    try:
        return load_architecture(folder / ARCHITECTURE_FILE)
    except ConfigError as damage:
        try:
            return Architecture.from_dict(read_json(folder / REQUEST_FILE)["architecture"])
        except (ConfigError, LookupError, TypeError):
            raise damage from None


def _architecture_in(model: Path) -> Architecture:
    """Return the architecture of a model file. Raises DataError if it is damaged."""
    from trials.model_file import load_model  # needs torch

    return load_model(model)[0]
