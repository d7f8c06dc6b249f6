"""Record of one evaluation: which faces were found, and the detections in a few images.

It is small whatever the number of detections, of which a network makes hundreds in an image,
and needs neither the images nor their labels: precision-recall curves, APs and the recall of
faces of any size follow from it exactly.

Shape legend: I images, F faces of all images, P predictions, K boxes.
"""

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from search_spaces.randomness import seeded_generator, shuffled
from trials.data.ground_truth import Truth
from trials.data.images import read_size
from trials.evaluation.widerface_ap import (
    Flags,
    Floats,
    Ints,
    MatchedPredictions,
    Matches,
    match_predictions,
    precision_recall,
)
from trials.result import SUBSETS

if TYPE_CHECKING:
    from trials.evaluation.evaluated_images import EvaluatedImages
    from trials.evaluation.inference import InputSize

MOST_FACES = 500_000  # WIDER FACE's validation set has 39,708
MOST_BOXES = 500  # of one kind in one picture
PICTURES_PER_REASON = 4
REASONS = ("most missed", "most false", "random")
KINDS = ("found", "missed", "false")
_SEED, _PURPOSE = 0, 7  # the random images are the same in every evaluation of a set


@dataclass(frozen=True, kw_only=True, eq=False)
class Picture:
    """One evaluated image and its boxes at the threshold of the record.

    Attributes:
        path: of the image below the data folder, with `/`.
        reason: one of `REASONS`.
        counts: number of boxes by kind, also of those that are left out.
        boxes: by kind (K, 4) float32 x, y, width, height in pixels of the image, at most
            `MOST_BOXES`; detections where a face is `found` or the box is `false`, faces
            where they are `missed`.
    """

    path: str
    reason: str
    counts: Mapping[str, int]
    boxes: Mapping[str, NDArray[np.float32]]


@dataclass(frozen=True, kw_only=True, eq=False)
class EvaluationRecord:
    """Matches of an evaluation, its faces, and its pictures.

    Attributes:
        matches: see `trials.evaluation.widerface_ap`.
        counted_F3: bool; whether a face counts in easy, medium, hard.
        height_F: float32; heights of the faces in pixels of their image.
        scale_F: float32; pixels of the network's input per pixel of the image.
        score: score of a detection at the threshold.
        pictures: chosen by `REASONS`, in this order.
    """

    matches: Matches
    counted_F3: Flags
    height_F: NDArray[np.float32]
    scale_F: NDArray[np.float32]
    score: float
    pictures: tuple[Picture, ...] = ()

    @cached_property
    def threshold(self) -> int:
        """Index of the threshold at which the F1 of the hard faces is highest."""
        return best_threshold(self.matches, self.hard)

    @property
    def hard(self) -> Flags:
        """Whether each face (F) counts as hard."""
        return self.counted_F3[:, SUBSETS.index("hard")]

    @cached_property
    def found(self) -> Flags:
        """Whether each face (F) is found at the threshold."""
        return found_faces(self.matches, self.threshold, len(self.height_F))


def record_evaluation(
    predictions: Mapping[str, NDArray[np.floating]],
    images: "EvaluatedImages",
    size: "InputSize",
    data_root: Path,
) -> EvaluationRecord:
    """Return the record of an evaluation.

    Args:
        predictions: as in `trials.evaluation.detector_ap.Evaluation`.
        images: the evaluated images.
        size: how they became network inputs.
        data_root: the data folder, which holds the images.

    Raises:
        DataError: an image is missing or broken, or `predictions` are no arrays (N, 5).
    """
    truth = images.truth
    found = match_predictions(predictions, truth)
    matches = found.matches()
    threshold = best_threshold(matches, truth.counted_F3[:, SUBSETS.index("hard")])
    scale_I = [_scale(path, size) for path in images.paths]
    kept_P = found.bin_P <= threshold
    return EvaluationRecord(
        matches=matches,
        counted_F3=truth.counted_F3,
        height_F=truth.boxes_F4[:, 3].astype(np.float32),
        scale_F=np.repeat(np.array(scale_I, np.float32), np.diff(truth.offsets)),
        score=float(found.found_P5[kept_P, 4].min(initial=1.0)),
        pictures=tuple(_pictures(found, truth, threshold, images.paths, data_root)),
    )


def best_threshold(matches: Matches, counted_F: Flags) -> int:
    """Return the index of the threshold with the highest F1, the strictest of several."""
    precision_T, recall_T = precision_recall(matches, counted_F)
    total_T = precision_T + recall_T
    return int(np.argmax(precision_T * recall_T / np.where(total_T > 0, total_T, 1)))


def found_faces(matches: Matches, threshold: int, faces: int) -> Flags:
    """Return whether each face (F) has a match at a threshold."""
    found_F = np.zeros(faces, dtype=bool)
    found_F[matches.face_M[matches.bin_M <= threshold]] = True
    return found_F


def _scale(path: Path, size: "InputSize") -> float:
    width, height = read_size(path)
    return size.fitted(height, width)[0] / height


@dataclass(frozen=True, kw_only=True, eq=False)
class _Errors:
    """Faces and predictions that count as hard, by kind, at one threshold."""

    truth: Truth
    found: MatchedPredictions
    missed_F: Flags
    found_P: Flags
    false_P: Flags

    def boxes(self, image: int) -> dict[str, Floats]:
        """Return the boxes of an image by kind."""
        here_P = self.found.image_P == image
        rows_P4 = self.found.found_P5[:, :4]
        begin, end = self.truth.offsets[image : image + 2]
        return {
            "found": rows_P4[here_P & self.found_P],
            "missed": self.truth.boxes(image)[self.missed_F[begin:end]],
            "false": rows_P4[here_P & self.false_P],
        }


def _errors(found: MatchedPredictions, truth: Truth, threshold: int) -> _Errors:
    """Return the errors; a second match of a face is false, as in the AP."""
    hard_F = truth.counted_F3[:, SUBSETS.index("hard")]
    kept_P, matched_P = found.bin_P <= threshold, found.face_P >= 0
    first_P = np.zeros(len(matched_P), dtype=bool)
    faces, positions = np.unique(found.face_P, return_index=True)
    first_P[positions[faces >= 0]] = True
    hard_P = np.zeros(len(matched_P), dtype=bool)
    hard_P[matched_P] = hard_F[found.face_P[matched_P]]
    return _Errors(
        truth=truth,
        found=found,
        missed_F=hard_F & ~found_faces(found.matches(), threshold, len(hard_F)),
        found_P=kept_P & hard_P & first_P,
        false_P=kept_P & (~matched_P | hard_P & ~first_P),
    )


def _pictures(
    found: MatchedPredictions, truth: Truth, threshold: int, paths: list[Path], data_root: Path
) -> Iterator[Picture]:
    errors = _errors(found, truth, threshold)
    images = len(truth.names)
    owner_F = np.repeat(np.arange(images), np.diff(truth.offsets))
    missed_I = np.bincount(owner_F[errors.missed_F], minlength=images)
    false_I = np.bincount(found.image_P[errors.false_P], minlength=images)
    for image, reason in choose(missed_I, false_I, np.diff(truth.offsets) > 0):
        boxes = errors.boxes(image)
        yield Picture(
            path=Path(os.path.relpath(paths[image], data_root)).as_posix(),
            reason=reason,
            counts={kind: len(boxes[kind]) for kind in KINDS},
            boxes={kind: boxes[kind][:MOST_BOXES].astype(np.float32) for kind in KINDS},
        )


def choose(missed_I: Ints, false_I: Ints, with_faces_I: Flags) -> list[tuple[int, str]]:
    """Return the images of the pictures, each with its reason; none twice.

    Args:
        missed_I, false_I: numbers of missed faces and false detections in each image.
        with_faces_I: images that may be chosen at random: the APs ignore those without faces.
    """
    chosen: dict[int, str] = {}
    for errors_I, reason in zip((missed_I, false_I), REASONS[:2], strict=True):
        order = (int(i) for i in np.argsort(-errors_I, kind="stable") if errors_I[i])
        new = (image for image in order if image not in chosen)
        chosen |= dict.fromkeys(list(islice(new, PICTURES_PER_REASON)), reason)
    images = np.flatnonzero(with_faces_I)
    drawn = (int(images[i]) for i in shuffled(seeded_generator(_SEED, _PURPOSE), len(images)))
    new = (image for image in drawn if image not in chosen)
    chosen |= dict.fromkeys(sorted(islice(new, PICTURES_PER_REASON)), REASONS[2])
    return list(chosen.items())
