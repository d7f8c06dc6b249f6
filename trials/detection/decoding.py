"""Detections from a head's outputs: threshold, decode, clip, non-maximum suppression.

Boxes are decoded as in SCRFD (arXiv 2105.04714, section 3), whose evaluation suppresses with
an IoU of 0.45 and whose demonstration program tools/scrfd.py with 0.4.
Shapes: B images, A anchors, N detections, M anchors that pass the score threshold.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torchvision.ops import nms

from search_spaces.errors import ConfigError, DataError, TrialError
from search_spaces.network.head import HeadOutputs
from trials.detection.boxes import boxes_from_distances
from trials.detection.head_layout import (
    BOX_VALUES,
    NUM_KEYPOINTS,
    anchors_for_outputs,
    pick,
    places_of,
)

SCORE_THRESHOLD = 0.02
NMS_THRESHOLD = 0.45
DEMO_NMS_THRESHOLD = 0.4

FloatArray = npt.NDArray[np.float32]


@dataclass(frozen=True, kw_only=True)
class Thresholds:
    """Thresholds of a detection; the defaults are those of the WIDER FACE evaluation.

    Attributes:
        score: a detection must score higher than this, from 0 to below 1.
        nms: of two boxes with a higher IoU only the better stays; None keeps all.

    Raises:
        ConfigError: a value is out of range.
    """

    score: float = SCORE_THRESHOLD
    nms: float | None = NMS_THRESHOLD

    def __post_init__(self) -> None:
        if not 0 <= self.score < 1:
            raise ConfigError(f"the score threshold must be from 0 to below 1, got {self.score}")
        if self.nms is not None and not 0 <= self.nms <= 1:
            raise ConfigError(f"the NMS threshold must be from 0 to 1, got {self.nms}")


@dataclass(frozen=True, kw_only=True, eq=False)
class Detections:
    """Faces found in one image.

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
        """Return the detections that an index array or a mask chooses, in its order."""
        points = None if self.keypoints_N52 is None else self.keypoints_N52[chosen]
        return Detections(
            boxes_N4=self.boxes_N4[chosen], scores_N=self.scores_N[chosen], keypoints_N52=points
        )

    def scaled(self, x: float, y: float) -> "Detections":
        """Return the detections with coordinates multiplied by x and y."""
        factors = np.array([x, y], dtype=np.float32)
        points = None if self.keypoints_N52 is None else self.keypoints_N52 * factors
        return replace(self, boxes_N4=self.boxes_N4 * np.tile(factors, 2), keypoints_N52=points)


@torch.no_grad()
def decode(
    outputs: HeadOutputs,
    sizes: Sequence[tuple[int, int]] | None = None,
    thresholds: Thresholds | None = None,
) -> list[Detections]:
    """Return the detections of every image of a batch, best score first.

    Boxes (not key points) are clipped to the image, which is smaller than the input where
    the input is padded. NMS follows, with areas (x2 - x1) (y2 - y1).

    Args:
        outputs: the head's outputs; half precision is decoded in float32.
        sizes: (height, width) of each image in pixels of the input; None does not clip.
        thresholds: None means the default `Thresholds`.

    Raises:
        DataError: there is not one size for each image.
        TrialError: the network's outputs are not numbers, because it has diverged.
    """
    thresholds, images = thresholds or Thresholds(), outputs.scores[0].shape[0]
    if sizes is not None and len(sizes) != images:
        raise DataError(f"decode needs one size for each of {images} images, got {len(sizes)}")
    image_M, anchor_M = _above(outputs, thresholds.score)
    counts = image_M.bincount(minlength=images).cpu().tolist()
    columns = [torch.split(column, counts) for column in _decoded(outputs, image_M, anchor_M)]
    found = []
    for index, (boxes_N4, *others) in enumerate(zip(*columns, strict=True)):
        if sizes is not None:
            boxes_N4 = _clipped(boxes_N4, *sizes[index])
        found.append(_best([boxes_N4, *others], thresholds.nms))
    return found


def nms_plus_one(
    boxes_N4: FloatArray, scores_N: FloatArray, threshold: float = DEMO_NMS_THRESHOLD
) -> npt.NDArray[np.int64]:
    """Return the indices that stay after NMS with sides x2 - x1 + 1, best score first.

    A box goes when its IoU with a better one is above the threshold; among equal scores the
    first is the better. This is the convention of the SCRFD demonstration program, which
    suppresses in pixels of the original image (the +1 makes the scale matter).
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


def _above(outputs: HeadOutputs, threshold: float) -> tuple[Tensor, Tensor]:
    """Return image and anchor of every score above the threshold, in the anchors' order."""
    levels = [level.permute(0, 2, 3, 1).flatten(1) for level in outputs.scores]
    logits_BA = torch.cat(levels, dim=1)
    if bool(logits_BA.isnan().any()):
        raise TrialError("the detector's scores are not numbers (NaN): its weights have diverged")
    image_M, anchor_M = (logits_BA.float().sigmoid() > threshold).nonzero(as_tuple=True)
    return image_M, anchor_M


def _decoded(outputs: HeadOutputs, image_M: Tensor, anchor_M: Tensor) -> list[Tensor]:
    """Return boxes (M, 4), scores (M) and, if the head has them, key points (M, 5, 2)."""
    anchors = anchors_for_outputs(outputs)
    places = places_of(anchors, outputs.scores[0].shape[0], image_M, anchor_M)
    centers_M2, stride_M1 = anchors.centers_A2[anchor_M], anchors.strides_A[anchor_M][:, None]
    scores_M = pick(outputs.scores, places, 1)[:, 0].sigmoid()
    distances_M4 = pick(outputs.boxes, places, BOX_VALUES) * stride_M1
    found = [boxes_from_distances(centers_M2, distances_M4), scores_M]
    if outputs.keypoints is not None:
        shifts_M = pick(outputs.keypoints, places, NUM_KEYPOINTS * 2) * stride_M1
        found.append(centers_M2[:, None] + shifts_M.reshape(-1, NUM_KEYPOINTS, 2))
    return found


def _clipped(boxes_N4: Tensor, height: int, width: int) -> Tensor:
    limits = boxes_N4.new_tensor([width, height, width, height])
    return torch.minimum(boxes_N4.clamp(min=0), limits)


def _best(columns: Sequence[Tensor], nms_threshold: float | None) -> Detections:
    """Return the boxes, scores and key points that stay after NMS, best score first."""
    boxes_N4, scores_N = columns[:2]
    if nms_threshold is None:
        kept = scores_N.sort(descending=True, stable=True).indices
    else:
        kept = nms(boxes_N4, scores_N, nms_threshold)
    boxes_N4, scores_N, *keypoints = (column[kept].cpu() for column in columns)
    if not bool(boxes_N4.isfinite().all()):
        raise TrialError("the detector's boxes are not finite: its weights have diverged")
    return Detections(
        boxes_N4=boxes_N4.numpy(),
        scores_N=scores_N.numpy(),
        keypoints_N52=keypoints[0].numpy() if keypoints else None,
    )


def _require_shape(name: str, values: FloatArray, shape: tuple[int, ...]) -> None:
    if values.shape != shape:
        raise DataError(f"{name} must have shape {shape}, got {values.shape}")
