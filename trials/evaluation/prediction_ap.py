"""WIDER FACE AP of predictions in text files."""

import os
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from search_spaces.errors import DataError, counted
from trials.data.ground_truth import Truth, require_faces
from trials.data.widerface_mat import read_ground_truth
from trials.evaluation.prediction_files import read_predictions
from trials.evaluation.widerface_ap import evaluate
from trials.result import APs

Predictions: TypeAlias = Mapping[str, NDArray[np.float64]]


@dataclass(frozen=True, kw_only=True, eq=False)
class Scoring:
    """Result of scoring a folder.

    Attributes:
        aps: average precisions as fractions; 0 for a subset in which no face counts.
        face_counts: how many faces count in `easy`, `medium`, `hard`.
        notes: warnings for the reader of the figures, one sentence each.
    """

    aps: APs
    face_counts: Mapping[str, int]
    notes: tuple[str, ...]


def score_folder(
    predictions: str | os.PathLike[str], ground_truth: str | os.PathLike[str]
) -> Scoring:
    """Return the AP of a folder or tar archive of prediction files.

    The ground truth is a folder of WIDER FACE's .mat files.

    Raises:
        DataError: a missing or malformed file, no prediction for any image of the ground
            truth, or no face that counts.
    """
    truth = read_ground_truth(ground_truth)
    require_faces(truth, os.fspath(ground_truth))
    found = _unwrapped(read_predictions(predictions), truth)
    if not any(name in found for name in truth.names):
        raise DataError(
            f"{os.fspath(predictions)}: no prediction file belongs to an image of the ground "
            f"truth; the first image needs {truth.names[0]}.txt"
        )
    aps = evaluate(found, truth)
    return Scoring(aps=aps, face_counts=truth.face_counts, notes=tuple(_notes(found, truth)))


def _unwrapped(found: Predictions, truth: Truth) -> Predictions:
    """Remove the folders that contain all files, if that gives names of the truth."""
    names = set(truth.names)
    while found and not any(name in names for name in found):
        tops = {name.partition("/")[0] for name in found}
        if len(tops) > 1 or any("/" not in name for name in found):
            break
        found = {name.partition("/")[2]: rows for name, rows in found.items()}
    return found


def _notes(found: Collection[str], truth: Truth) -> list[str]:
    """Return warnings about files without an image, and images without a file or a face."""
    notes = []
    missing = [name for name in truth.names if name not in found]
    if missing:
        notes.append(
            f"{len(missing)} of {counted(len(truth.names), 'image')} without a prediction file "
            f"count as images without detections, first {missing[0]}"
        )
    if unknown := sorted(set(found) - set(truth.names)):
        notes.append(
            f"{len(unknown)} prediction files belong to no image of the ground truth and only "
            f"take part in the normalisation of scores, first {unknown[0]}"
        )
    empty = [name for name, count in truth.face_counts.items() if not count]
    notes += [f"no face counts as {name}: its AP is given as 0" for name in empty]
    return notes
