"""Recall and AP by the height of the faces, and the faces that only one of two networks finds."""

from itertools import pairwise
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from trials.evaluation.record import EvaluationRecord
from trials.evaluation.widerface_ap import average_precision

EDGES = (0.0, 8.0, 16.0, 32.0, 64.0, 128.0, float("inf"))  # pixels


class HeightBin(NamedTuple):
    """Recall and AP of the `faces` whose height is at least `low` and below `high`, in pixels."""

    low: float
    high: float
    faces: int
    recall: float
    ap: float


def by_height(record: EvaluationRecord, height_F: NDArray[np.floating]) -> list[HeightBin]:
    """Return recall and AP of the hard faces in bins of their height; bins without are left out.

    The recall is that at the threshold of the record. For the AP of a bin a detection of a face
    outside it does not count, as in the subsets of WIDER FACE.

    Args:
        record: an evaluation.
        height_F: heights of its faces, in pixels of whatever image.
    """
    bins = []
    for low, high in pairwise(EDGES):
        counted_F = record.hard & (height_F >= low) & (height_F < high)
        if counted_F.any():
            recall = float(record.found[counted_F].mean())
            ap = average_precision(record.matches, counted_F)
            bins.append(HeightBin(low, high, int(counted_F.sum()), recall, ap))
    return bins


def found_by_one(one: EvaluationRecord, other: EvaluationRecord) -> tuple[int, int] | None:
    """Return how many hard faces only the first and only the second finds.

    None if the records are not of the same faces.
    """
    if not np.array_equal(one.counted_F3, other.counted_F3):
        return None
    only_one, only_other = one.found & ~other.found, other.found & ~one.found
    return int((one.hard & only_one).sum()), int((one.hard & only_other).sum())
