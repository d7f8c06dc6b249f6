"""Published networks that were trained as the candidates of a search, in its folder `baselines`."""

import shlex
from dataclasses import replace
from pathlib import Path

from nas.search.directory import SearchDir, outcome_in
from nas.search.request import AnyRequest
from search_spaces.errors import ConfigError
from search_spaces.files import read_json
from search_spaces.zoo import list_models
from trials.fingerprint import differences
from trials.recipe import BUILTIN, Recipe
from trials.result import TrialResult
from trials.trial import REQUEST_FILE

FOLDER = "baselines"


def read_baselines(directory: SearchDir) -> dict[str, float]:
    """Return the hard APs by name of the trials that differ from a candidate in the network alone.

    A trial of another recipe, data or setting, an unfinished and a damaged one are left out.
    """
    candidates = sorted(directory.root.glob(f"stage[12]/*/{REQUEST_FILE}"))[:1]
    found = {}
    for folder in sorted((directory.root / FOLDER).glob("*/")):
        outcome = outcome_in(folder)
        if candidates and isinstance(outcome, TrialResult) and _same(folder, candidates[0].parent):
            found[folder.name] = outcome.hard
    return found


def baseline_command(directory: SearchDir, request: AnyRequest) -> str:
    """Return the command that trains the published network of the nearest FLOPs as a candidate.

    Empty where the recipe is none of the built-in ones, and for a search at a URL.
    """
    recipe = Recipe.from_dict(request.recipe)
    names = [n for n, r in BUILTIN.items() if replace(r, batch_size=recipe.batch_size) == recipe]
    if not names or request.schedule.complete_rungs or "://" in str(directory):
        return ""
    plain = (m for m in list_models() if m.name.startswith("scrfd") and not m.keypoints)
    name = min(plain, key=lambda model: abs(model.flops / request.flops - 1)).name
    options = {
        "data": request.data,
        "recipe": names[0],
        "batch-size": recipe.batch_size,
        "epochs": request.epochs,
        "image-size": request.image_size,
        "precision": request.precision,
        "select-on": request.select_on,
        "seed": request.seed,
        "out": f"{directory}/{FOLDER}/{name}",
    }
    flags = (f"--{key} {shlex.quote(str(value))}" for key, value in options.items())
    return f"scrfd-nas trial {name} {' '.join(flags)}"


def _same(folder: Path, candidate: Path) -> bool:
    try:
        one, two = (read_json(path / REQUEST_FILE) for path in (candidate, folder))
    except ConfigError:
        return False
    return all(line.startswith("architecture.") for line in differences(one, two))
