"""Average precision as WIDER FACE computes it, from arrays.

The rules are those of the reference's evaluation (mmdet/core/evaluation/widerface.py):

- Scores are min-max normalised over the whole set; the thresholds are 1 - (t + 1) / 1000.
- Predictions are matched by falling score, equal scores in their given order.
- IoU adds 1 to widths and heights. A prediction takes the face with the best IoU, if that is
  at least 0.5.
- A prediction that matches a face outside the subset does not count for precision.
- A second match of a face is a false positive.
- An image without any face or without any prediction adds only to the face count.
- AP is the area under the curve of precision, made monotone, over recall, at all points.

Shape legend: P predictions and F faces of all images, N predictions and G faces of one image.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from search_spaces.errors import DataError
from trials.data.ground_truth import Truth
from trials.result import APs

THRESHOLDS = 1000
MATCH_IOU = 0.5
PAIRS_AT_ONCE = 1 << 19  # bounds the memory of one image with very many predictions

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Flags = NDArray[np.bool_]


@dataclass(frozen=True, kw_only=True, eq=False)
class Matches:
    """What the APs of a set depend on: the matched predictions, and a count of the others.

    M matched predictions, T thresholds.

    Attributes:
        face_M: the face that each one matches, ascending; for one face by falling score.
        bin_M: index of the first (highest) threshold that the score reaches.
        false_T: how many predictions match no face, by the same index.
    """

    face_M: Ints
    bin_M: Ints
    false_T: Ints

    @property
    def is_first(self) -> Flags:
        """Whether each prediction (M) is the first to match its face."""
        return np.diff(self.face_M, prepend=-1) > 0


@dataclass(frozen=True, kw_only=True, eq=False)
class MatchedPredictions:
    """Predictions in images that have faces, image by image and by falling score.

    Attributes:
        image_P: number of the image in the ground truth.
        found_P5: x, y, width, height, score.
        bin_P: index of the first (highest) threshold that the score reaches.
        face_P: the best face that the prediction matches, or -1.
    """

    image_P: Ints
    found_P5: Floats
    bin_P: Ints
    face_P: Ints

    def matches(self) -> Matches:
        """Return what the APs depend on."""
        order_M = np.argsort(self.face_P, kind="stable")[(self.face_P < 0).sum() :]
        false_T = _counts(self.bin_P[self.face_P < 0])
        return Matches(face_M=self.face_P[order_M], bin_M=self.bin_P[order_M], false_T=false_T)


def evaluate(predictions: Mapping[str, NDArray[np.floating]], truth: Truth) -> APs:
    """Return the average precision of easy, medium and hard faces.

    Args:
        predictions: image name `event/file` -> (N, 5) x, y, width, height, score in pixels.
            Images of the truth that are missing count as having no prediction; images that
            the truth does not have only take part in the normalisation of scores.
        truth: the faces, and which of them count.

    Returns:
        Fractions; 0 for a subset in which no face counts (see `truth.face_counts`).

    Raises:
        DataError: a prediction array of another shape, or with values that are not finite.
    """
    matches = match_predictions(predictions, truth).matches()
    values = [average_precision(matches, column) for column in truth.counted_F3.T]
    return APs(easy=values[0], medium=values[1], hard=values[2])


def _as_arrays(predictions: Mapping[str, NDArray[np.floating]]) -> dict[str, Floats]:
    """Check all predictions and leave out images without any."""
    arrays = {name: prediction_array(rows, name) for name, rows in predictions.items()}
    return {name: rows for name, rows in arrays.items() if rows.size}


def prediction_array(rows: NDArray[np.floating], name: str) -> Floats:
    """Return the predictions of an image as float64 (N, 5); an empty array of any shape is none.

    Raises:
        DataError: another shape, or values that are not finite.
    """
    array_N5 = np.asarray(rows, dtype=np.float64)
    if array_N5.size == 0:
        return array_N5.reshape(-1, 5)
    if array_N5.ndim != 2 or array_N5.shape[1] != 5:
        raise DataError(f"predictions of {name} must have the shape (N, 5), got {array_N5.shape}")
    if not np.isfinite(array_N5).all():
        raise DataError(f"predictions of {name} hold values that are not finite")
    return array_N5


def match_predictions(
    predictions: Mapping[str, NDArray[np.floating]], truth: Truth
) -> MatchedPredictions:
    """Match every prediction of every image that has both predictions and faces.

    Arguments and errors are those of `evaluate`.
    """
    rows, starts = _as_arrays(predictions), truth.offsets
    images = [
        number
        for number, name in enumerate(truth.names)
        if name in rows and starts[number + 1] > starts[number]
    ]
    counts = [len(rows[truth.names[number]]) for number in images]
    found_P5 = np.concatenate([np.zeros((0, 5)), *(rows[truth.names[i]] for i in images)])
    image_P = np.repeat(np.array(images, dtype=np.int64), counts)
    found_P5 = found_P5[np.lexsort((-found_P5[:, 4], image_P))]  # lexsort is stable
    face_P = np.empty(len(found_P5), dtype=np.int64)
    stop = 0
    for number, count in zip(images, counts, strict=True):
        start, stop = stop, stop + count
        best_N = _best_faces(found_P5[start:stop], truth.boxes(number))
        face_P[start:stop] = np.where(best_N < 0, -1, best_N + starts[number])
    bin_P = _threshold_bins(found_P5[:, 4], rows)
    return MatchedPredictions(image_P=image_P, found_P5=found_P5, bin_P=bin_P, face_P=face_P)


def _threshold_bins(scores_P: Floats, rows: Mapping[str, Floats]) -> Ints:
    """Return the first threshold, of those falling from 0.999 to 0, that each score reaches."""
    low = min((float(found[:, 4].min()) for found in rows.values()), default=0.0)
    high = max((float(found[:, 4].max()) for found in rows.values()), default=0.0)
    normalised_P = (scores_P - low) / ((high - low) or 1.0)
    thresholds = 1 - np.arange(1, THRESHOLDS + 1) / THRESHOLDS
    reached_P = np.searchsorted(thresholds[::-1], normalised_P, side="right")
    return np.asarray(THRESHOLDS - reached_P, dtype=np.int64)


def _best_faces(found_N5: Floats, faces_G4: Floats) -> Ints:
    """Return the face with the best IoU of at least 0.5 to each prediction, else -1."""
    step = max(1, PAIRS_AT_ONCE // len(faces_G4))
    if len(found_N5) > step:
        parts = range(0, len(found_N5), step)
        return np.concatenate([_best_faces(found_N5[i : i + step], faces_G4) for i in parts])
    iou_NG = overlaps(found_N5[:, :4], faces_G4)
    best_N = iou_NG.argmax(axis=1)
    return np.where(iou_NG[np.arange(len(best_N)), best_N] >= MATCH_IOU, best_N, -1)


def overlaps(found_N4: Floats, faces_G4: Floats) -> Floats:
    """Return the IoU (N, G) of xywh boxes, with 1 added to widths and heights."""
    low_N2, low_G2 = found_N4[:, :2], faces_G4[:, :2]
    high_N2, high_G2 = low_N2 + found_N4[:, 2:], low_G2 + faces_G4[:, 2:]
    inter_NG: Floats = _common(low_N2[:, 0], high_N2[:, 0], low_G2[:, 0], high_G2[:, 0])
    inter_NG *= _common(low_N2[:, 1], high_N2[:, 1], low_G2[:, 1], high_G2[:, 1])
    union_NG = _areas(low_N2, high_N2)[:, None] + _areas(low_G2, high_G2)
    union_NG -= inter_NG
    inter_NG /= union_NG
    return inter_NG


def _common(low_N: Floats, high_N: Floats, low_G: Floats, high_G: Floats) -> Floats:
    """Return the length (N, G), plus 1, that two intervals share along one axis."""
    common_NG: Floats = np.minimum(high_N[:, None], high_G)
    common_NG -= np.maximum(low_N[:, None], low_G)
    common_NG += 1
    return np.maximum(common_NG, 0, out=common_NG)


def _areas(low_N2: Floats, high_N2: Floats) -> Floats:
    """Return areas of sides plus 1; a tiny one for inverted boxes, so that no union is 0."""
    sides_N2 = np.maximum(high_N2 - low_N2 + 1, 0)
    area_N: Floats = sides_N2[:, 0] * sides_N2[:, 1]
    return np.maximum(area_N, np.finfo(np.float64).tiny)


def precision_recall(matches: Matches, counted_F: Flags) -> tuple[Floats, Floats]:
    """Return precision and recall (T) at every threshold, for the faces flagged in `counted_F`.

    Both are 0 where nothing is found.
    """
    counted_M = counted_F[matches.face_M]
    right_T = _counts(matches.bin_M[counted_M & matches.is_first]).cumsum()
    kept_T = (_counts(matches.bin_M[counted_M]) + matches.false_T).cumsum()
    return right_T / np.maximum(kept_T, 1), right_T / max(1, int(counted_F.sum()))


def average_precision(matches: Matches, counted_F: Flags) -> float:
    """Return the all-point AP of the faces flagged in `counted_F`; 0 if there are none."""
    precision_T, recall_T = precision_recall(matches, counted_F)
    return _area(recall_T, precision_T)


def _counts(bins: Ints) -> Ints:
    return np.bincount(bins, minlength=THRESHOLDS)


def _area(recall: Floats, precision: Floats) -> float:
    """Return the area under the curve after making precision fall with recall."""
    best_from_here = np.maximum.accumulate(precision[::-1])[::-1]
    steps = np.diff(recall, prepend=0.0)
    return min(1.0, float((steps * best_from_here).sum()))  # rounding must not exceed 1
