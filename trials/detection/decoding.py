"""From a head's outputs to detections: threshold, decode, clip, non-maximum suppression.

Source: REFERENCE facts of SCRFD, sections 4 and 9.
Shapes: B images, A anchors, N detections, M anchors that pass the score threshold.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torchvision.ops import nms as torchvision_nms

from search_spaces.errors import ConfigError, DataError, TrialError
from trials.detection.boxes import boxes_from_distances
from trials.detection.head_layout import (
    BOX_VALUES,
    NUM_KEYPOINTS,
    Outputs,
    anchors_for_outputs,
    pick,
    places_of,
)

SCORE_THRESHOLD = 0.02
NMS_THRESHOLD = 0.45
DEMO_NMS_THRESHOLD = 0.4

FloatArray = npt.NDArray[np.float32]
IndexArray = npt.NDArray[np.int64]


@dataclass(frozen=True, kw_only=True, eq=False)
class Detections:
    """The faces found in one image.

    Attributes:
        boxes_N4: float32 xyxy in pixels of the network's input.
        scores_N: float32 in [0, 1].
        keypoints_N52: float32 x, y in the same pixels; None for a detector without them.
    """

    boxes_N4: FloatArray
    scores_N: FloatArray
    keypoints_N52: FloatArray | None = None

    def __post_init__(self) -> None:
        count = len(self.scores_N)
        _require_shape("boxes_N4", self.boxes_N4, (count, 4))
        _require_shape("scores_N", self.scores_N, (count,))
        if self.keypoints_N52 is not None:
            _require_shape("keypoints_N52", self.keypoints_N52, (count, NUM_KEYPOINTS, 2))

    def __len__(self) -> int:
        return len(self.scores_N)

    def select(self, chosen: npt.NDArray[Any]) -> "Detections":
        """The detections that an index array or a mask chooses, in its order."""
        points = None if self.keypoints_N52 is None else self.keypoints_N52[chosen]
        return Detections(
            boxes_N4=self.boxes_N4[chosen], scores_N=self.scores_N[chosen], keypoints_N52=points
        )

    def scaled(self, x: float, y: float) -> "Detections":
        """Coordinates multiplied by x and y, for the way back to the original image."""
        factors = np.array([x, y], dtype=np.float32)
        points = None if self.keypoints_N52 is None else self.keypoints_N52 * factors
        return replace(self, boxes_N4=self.boxes_N4 * np.tile(factors, 2), keypoints_N52=points)


@torch.no_grad()
def decode(
    outputs: Outputs,
    height: int | Sequence[int] | None = None,
    width: int | Sequence[int] | None = None,
    *,
    score_threshold: float = SCORE_THRESHOLD,
    nms_threshold: float | None = NMS_THRESHOLD,
    max_detections: int | None = None,
) -> list[Detections]:
    """Detections of every image of a batch, best score first.

    Boxes (not key points) are clipped to the image, which is smaller than the input where
    the input is padded. Then comes NMS with plain areas.

    Args:
        outputs: the head's outputs; half precision is decoded in float32.
        height: image height in pixels of the input, one for all or one for each image;
            None for no clipping.
        width: the same for the width.
        score_threshold: a detection must score higher than this, 0 <= threshold < 1.
        nms_threshold: of two boxes with a higher IoU only the better stays; None keeps all.
        max_detections: the most to keep of an image; None keeps all.

    Raises:
        ConfigError: on a threshold outside its range.
        DataError: when heights or widths are not one for each image.
        TrialError: when the network's outputs are not numbers (it has diverged).
    """
    if not 0 <= score_threshold < 1:
        raise ConfigError(f"score_threshold must be in [0, 1), got {score_threshold}")
    if nms_threshold is not None and not 0 <= nms_threshold <= 1:
        raise ConfigError(f"nms_threshold must be in [0, 1], got {nms_threshold}")
    if max_detections is not None and max_detections < 1:
        raise ConfigError(f"max_detections must be at least 1, got {max_detections}")
    count = outputs.scores[0].shape[0]
    limits = zip(_spread("height", height, count), _spread("width", width, count), strict=True)
    found = []
    for survivors, limit in zip(_survivors(outputs, score_threshold), limits, strict=True):
        boxes_M4 = _clip(survivors.boxes_M4, *limit)
        kept = _suppress(boxes_M4, survivors.scores_M, nms_threshold)[:max_detections]
        found.append(_to_detections(replace(survivors, boxes_M4=boxes_M4), kept))
    return found


def nms(boxes_N4: FloatArray, scores_N: FloatArray, threshold: float = NMS_THRESHOLD) -> IndexArray:
    """Indices that stay after NMS with plain areas, best score first.

    A box goes when its IoU with a better one is above the threshold. Among equal scores the
    first is the better.
    """
    boxes, scores = torch.from_numpy(boxes_N4).float(), torch.from_numpy(scores_N).float()
    kept: IndexArray = _plain_nms(boxes.reshape(-1, 4), scores, threshold).numpy()
    return kept


def nms_plus_one(
    boxes_N4: FloatArray, scores_N: FloatArray, threshold: float = DEMO_NMS_THRESHOLD
) -> IndexArray:
    """NMS in the convention of the SCRFD demo tool: sides are x2 - x1 + 1.

    Same contract as `nms`; for comparison with that tool only, which suppresses in pixels of
    the original image (with the +1, scale matters).
    """
    sides_N2 = boxes_N4[:, 2:] - boxes_N4[:, :2] + 1
    areas_N = sides_N2[:, 0] * sides_N2[:, 1]
    order = np.argsort(-scores_N, kind="stable")
    kept = []
    while order.size:
        best, rest = order[0], order[1:]
        kept.append(best)
        top_left = np.maximum(boxes_N4[best, :2], boxes_N4[rest, :2])
        bottom_right = np.minimum(boxes_N4[best, 2:], boxes_N4[rest, 2:])
        overlap = np.maximum(bottom_right - top_left + 1, 0).prod(axis=1)
        order = rest[overlap / (areas_N[best] + areas_N[rest] - overlap) <= threshold]
    return np.array(kept, dtype=np.int64)


@dataclass(frozen=True, kw_only=True, eq=False)
class _Survivors:
    """What scores above the threshold in one image."""

    boxes_M4: Tensor
    scores_M: Tensor
    keypoints_M52: Tensor | None


def _survivors(outputs: Outputs, threshold: float) -> list[_Survivors]:
    """Threshold first, then decode what is left; one entry an image."""
    anchors = anchors_for_outputs(outputs)
    images = outputs.scores[0].shape[0]
    image_M, anchor_M = _above(outputs, threshold)
    places = places_of(anchors, images, image_M, anchor_M)
    centers_M2, stride_M1 = anchors.centers_A2[anchor_M], anchors.strides_A[anchor_M][:, None]
    scores_M = pick(outputs.scores, places, 1)[:, 0].sigmoid()
    distances_M4 = pick(outputs.boxes, places, BOX_VALUES) * stride_M1
    boxes_M4 = boxes_from_distances(centers_M2, distances_M4)
    counts = image_M.bincount(minlength=images).tolist()
    points: Sequence[Tensor | None] = [None] * images
    if outputs.keypoints is not None:
        shifts_M = pick(outputs.keypoints, places, NUM_KEYPOINTS * 2) * stride_M1
        points_M52 = centers_M2[:, None] + shifts_M.reshape(-1, NUM_KEYPOINTS, 2)
        points = torch.split(points_M52, counts)
    split = zip(torch.split(boxes_M4, counts), torch.split(scores_M, counts), points, strict=True)
    return [_Survivors(boxes_M4=b, scores_M=s, keypoints_M52=k) for b, s, k in split]


def _above(outputs: Outputs, threshold: float) -> tuple[Tensor, Tensor]:
    """Image and anchor of every score above the threshold, in the order of the anchors."""
    logits_BA = torch.cat([_in_anchor_order(level) for level in outputs.scores], dim=1)
    if bool(logits_BA.isnan().any()):
        raise TrialError("the detector's scores are not numbers (NaN): its weights have diverged")
    image_M, anchor_M = (logits_BA.float().sigmoid() > threshold).nonzero(as_tuple=True)
    return image_M, anchor_M


def _in_anchor_order(scores: Tensor) -> Tensor:
    return scores.permute(0, 2, 3, 1).flatten(1)


def _clip(boxes_M4: Tensor, height: int | None, width: int | None) -> Tensor:
    most = [math.inf if limit is None else float(limit) for limit in (width, height)]
    least = [-math.inf if limit is None else 0.0 for limit in (width, height)]
    return torch.minimum(
        torch.maximum(boxes_M4, boxes_M4.new_tensor(least * 2)), boxes_M4.new_tensor(most * 2)
    )


def _plain_nms(boxes_M4: Tensor, scores_M: Tensor, threshold: float) -> Tensor:
    kept: Tensor = torchvision_nms(boxes_M4, scores_M, threshold)
    return kept


def _suppress(boxes_M4: Tensor, scores_M: Tensor, threshold: float | None) -> Tensor:
    if threshold is None:
        return scores_M.sort(descending=True, stable=True).indices
    return _plain_nms(boxes_M4, scores_M, threshold)


def _to_detections(survivors: _Survivors, kept: Tensor) -> Detections:
    boxes_N4 = survivors.boxes_M4[kept].cpu()
    if not bool(boxes_N4.isfinite().all()):
        raise TrialError("the detector's boxes are not finite: its weights have diverged")
    points = survivors.keypoints_M52
    return Detections(
        boxes_N4=boxes_N4.numpy(),
        scores_N=survivors.scores_M[kept].cpu().numpy(),
        keypoints_N52=None if points is None else points[kept].cpu().numpy(),
    )


def _spread(name: str, value: int | Sequence[int] | None, count: int) -> list[int | None]:
    if value is None or isinstance(value, (int, np.integer)):
        return [value] * count
    if len(value) != count:
        raise DataError(f"decode needs one {name} for each of {count} images, got {len(value)}")
    return list(value)


def _require_shape(name: str, values: FloatArray, shape: tuple[int, ...]) -> None:
    if values.shape != shape:
        raise DataError(f"{name} must have shape {shape}, got {values.shape}")
