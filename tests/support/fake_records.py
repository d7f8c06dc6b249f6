"""Made-up records of evaluations."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from trials.evaluation.record import KINDS, EvaluationRecord, Picture
from trials.evaluation.widerface_ap import THRESHOLDS, Matches


def make_picture(path: str = "val/images/e/a.png", reason: str = "random", **boxes: Any) -> Picture:
    """Return a picture with boxes by kind, of which none are left out."""
    arrays = {kind: np.array(boxes.get(kind, []), np.float32).reshape(-1, 4) for kind in KINDS}
    counts = {kind: len(found) for kind, found in arrays.items()}
    return Picture(path=path, reason=reason, counts=counts, boxes=arrays)


def make_record(
    heights: Sequence[float] = (10, 20, 40, 80),
    found: Mapping[int, int] | None = None,
    false: Sequence[int] = (),
    **changes: Any,
) -> EvaluationRecord:
    """Return a record of hard faces in images that are halved.

    Args:
        heights: of the faces in their images.
        found: face -> threshold at which it is found; None: all at the first.
        false: thresholds of the false detections.
        changes: fields of the record.
    """
    matched = dict.fromkeys(range(len(heights)), 0) if found is None else found
    faces = np.array(sorted(matched), np.int64)
    counted = np.zeros((len(heights), 3), bool)
    counted[:, 1:] = True
    values: dict[str, Any] = {
        "matches": Matches(
            face_M=faces,
            bin_M=np.array([matched[face] for face in faces.tolist()], np.int64),
            false_T=np.bincount(np.array(false, np.int64), minlength=THRESHOLDS),
        ),
        "counted_F3": counted,
        "height_F": np.array(heights, np.float32),
        "scale_F": np.full(len(heights), 0.5, np.float32),
        "score": 0.5,
    }
    return EvaluationRecord(**{**values, **changes})
