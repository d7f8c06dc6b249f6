"""What a trial was asked for: all that decides its result, and whose folder it is."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from search_spaces.architecture import Architecture
from search_spaces.errors import IncomparableError
from search_spaces.files import read_json, write_json
from trials.fingerprint import data_fingerprint, differences, request_fingerprint
from trials.recipe import Recipe
from trials.settings import TrialSettings

REQUEST_FILE = "request.json"


def trial_request(
    architecture: Architecture,
    recipe: Recipe,
    data_root: str | os.PathLike[str],
    settings: TrialSettings,
) -> dict[str, Any]:
    """All that decides a trial's result, as plain data. Raises DataError without data."""
    content = architecture.to_dict()
    content.pop("name", None)
    return {
        "architecture": content,
        "recipe": recipe.to_dict(),
        "settings": settings.comparable(),
        "data": data_fingerprint(data_root),
    }


def default_folder(
    architecture: Architecture,
    recipe: Recipe,
    data_root: str | os.PathLike[str],
    settings: TrialSettings,
) -> Path:
    """`runs/trials/<name>-<request>`: the same for the same request, and only for it."""
    request = request_fingerprint(trial_request(architecture, recipe, data_root, settings))
    label = "".join(c if c.isalnum() or c in "._" else "_" for c in architecture.name)
    return Path("runs", "trials", f"{label or architecture.content_hash}-{request[:8]}")


def claim(folder: Path, request: Mapping[str, Any]) -> None:
    """Make `folder` belong to `request`.

    Raises:
        IncomparableError: it belongs to another request; shows the differences.
        ConfigError: its `request.json` is damaged.
    """
    path = folder / REQUEST_FILE
    if not path.exists():
        write_json(path, request)
        return
    changed = differences(read_json(path), request)
    if changed:
        raise IncomparableError(
            f"{folder}: holds a trial of another request; choose another folder or remove it. "
            f"Different: {'; '.join(changed)}"
        )
