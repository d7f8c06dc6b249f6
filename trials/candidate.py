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
    if path.is_dir():
        return _of_folder(path)
    return load_model(path)[0] if path.suffix == ".pt" else resolve_architecture(reference)


def _of_folder(folder: Path) -> Architecture:
    if (folder / ARCHITECTURE_FILE).is_file():
        return load_architecture(folder / ARCHITECTURE_FILE)
    if (folder / BEST).is_file():
        return load_model(folder / BEST)[0]
    raise ConfigError(f"{folder}: holds no candidate, neither {ARCHITECTURE_FILE} nor {BEST}")
