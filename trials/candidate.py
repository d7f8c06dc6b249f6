"""Resolve a user's reference to a candidate to its Architecture."""

from pathlib import Path

from search_spaces.architecture import Architecture, load_architecture
from search_spaces.errors import ConfigError
from search_spaces.zoo import resolve_architecture
from trials.model_file import BEST, load_model

ARCHITECTURE_FILE = "architecture.yaml"


def resolve_candidate(reference: str) -> Architecture:
    """Return the architecture of a built-in name, YAML file, model file (.pt) or trial folder.

    Raises:
        ConfigError: the reference is none of these.
        DataError: the model file is damaged.
    """
    path = Path(reference)
    if path.suffix == ".pt" and not path.is_dir():
        return load_model(path)[0]
    if not path.is_dir():
        return resolve_architecture(reference)
    if (path / ARCHITECTURE_FILE).is_file():
        return load_architecture(path / ARCHITECTURE_FILE)
    if (path / BEST).is_file():
        return load_model(path / BEST)[0]
    raise ConfigError(f"{path}: holds no candidate, neither {ARCHITECTURE_FILE} nor {BEST}")
