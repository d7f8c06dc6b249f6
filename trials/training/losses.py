"""The losses of SCRFD: quality focal loss, DIoU and key points.

Source: `scrfd_head.py` of SCRFD's mmdetection fork (arXiv 2105.04714); quality focal loss from
Li et al., Generalized focal loss (NeurIPS 2020, arXiv 2006.04388), equation 4. Everything is
computed in float32, whatever the type of the outputs.

Shapes: B images, A anchors, G faces of an image, T faces of all images together, P positive
anchors of all images together, L levels.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.nn import functional as F

from search_spaces.errors import DataError
from search_spaces.network.head import HeadOutputs
from trials.detection.anchors import STRIDES, Anchors
from trials.detection.boxes import boxes_from_distances, diou, iou
from trials.detection.head_layout import (
    BOX_VALUES,
    NUM_KEYPOINTS,
    Places,
    anchors_for_outputs,
    join,
    pick,
    places_of,
)
from trials.training.assignment import assign_batch
from trials.training.targets import Targets

BOX_WEIGHT = 2.0
KEYPOINT_WEIGHT = 0.1
KEYPOINT_BETA = 1 / 9


@dataclass(frozen=True, kw_only=True, eq=False)
class LevelSums:
    """Sums over the positives of each level, before normalisation.

    Attributes:
        cls_L, box_L, keypoint_L: weighted losses, loss weights included.
        score_weight_L: sums of the positives' detached scores.
        num_samples: sum over images of max(positives, 1).
        num_positives: P.
        qualities_P: detached IoU of each positive's predicted box with its face.
    """

    cls_L: Tensor
    box_L: Tensor
    keypoint_L: Tensor
    score_weight_L: Tensor
    num_samples: Tensor
    num_positives: int
    qualities_P: Tensor


@dataclass(frozen=True, kw_only=True, eq=False)
class LossTerms:
    """The loss of a batch: scalars to be minimised, finite whenever the outputs are.

    Attributes:
        cls, box, keypoint: the terms, loss weights included; keypoint is 0 for a head
            without key points.
        total: their sum.
        levels: the normalised sums by level, which add up to the terms.
    """

    cls: Tensor
    box: Tensor
    keypoint: Tensor
    total: Tensor
    levels: LevelSums

    def stacked(self) -> Tensor:
        """Return the detached losses (4,) in the order of `trials.result.LOSSES`."""
        return torch.stack([self.total, self.cls, self.box, self.keypoint]).detach()


def detection_loss(
    outputs: HeadOutputs,
    targets: Sequence[Targets],
    *,
    reduce: Callable[[Tensor], Tensor] | None = None,
) -> LossTerms:
    """Return the training loss of a batch.

    Args:
        outputs: outputs of the head for B images.
        targets: faces of those images, on the device of the outputs.
        reduce: averages a tensor over data-parallel workers. It is called exactly once, also
            without positives, with the float32 pair (samples, sum of score weights), so that
            the mean of the workers' gradients is the gradient of the joint batch.

    Returns:
        The loss terms. Without positives the box and key-point terms are exactly 0 and have
        zero gradients (the reference gives NaN).

    Raises:
        DataError: there is not exactly one target for each image.
    """
    anchors = anchors_for_outputs(outputs)
    assigned_BA = assign_batch(anchors, [target.boxes_G4 for target in targets])
    return normalise(level_sums(outputs, targets, assigned_BA), reduce=reduce)


def normalise(sums: LevelSums, *, reduce: Callable[[Tensor], Tensor] | None = None) -> LossTerms:
    """Divide the sums by the number of samples and the sum of score weights, both reduced."""
    divisors = torch.stack((sums.num_samples, sums.score_weight_L.sum()))
    if reduce is not None:
        divisors = reduce(divisors)
    samples = divisors[0].clamp(min=1)
    score_weight = divisors[1].clamp(min=torch.finfo(torch.float32).tiny)
    levels = replace(
        sums,
        cls_L=sums.cls_L / samples,
        box_L=sums.box_L / score_weight,
        keypoint_L=sums.keypoint_L / score_weight,
    )
    cls, box, keypoint = levels.cls_L.sum(), levels.box_L.sum(), levels.keypoint_L.sum()
    total = cls + box + keypoint
    return LossTerms(cls=cls, box=box, keypoint=keypoint, total=total, levels=levels)


def level_sums(outputs: HeadOutputs, targets: Sequence[Targets], assigned_BA: Tensor) -> LevelSums:
    """Return the weighted losses of an assignment of `assign_batch`, summed by level.

    Raises:
        DataError: there is not exactly one target for each image.
    """
    anchors = anchors_for_outputs(outputs)
    if len(targets) != outputs.scores[0].shape[0]:
        found = f"{len(targets)} for {outputs.scores[0].shape[0]} images"
        raise DataError(f"the loss needs one target for each image, got {found}")
    positives = _find_positives(anchors, targets, assigned_BA)
    scores = join(outputs.scores).float()
    weight_P = scores.detach()[positives.places.score_index_P].sigmoid()
    losses_P, qualities_P = _box_losses(outputs, positives)
    keypoint_P = _keypoint_losses(outputs, targets, positives)
    return LevelSums(
        cls_L=_score_sums(outputs, scores, positives, qualities_P),
        box_L=BOX_WEIGHT * _sum_by_level(losses_P * weight_P, positives),
        keypoint_L=KEYPOINT_WEIGHT * _sum_by_level(keypoint_P * weight_P, positives),
        score_weight_L=_sum_by_level(weight_P, positives),
        num_samples=(assigned_BA > 0).sum(dim=1).clamp(min=1).sum().float(),
        num_positives=qualities_P.shape[0],
        qualities_P=qualities_P,
    )


def quality_focal_loss(logits: Tensor, qualities: Tensor) -> Tensor:
    """Return |quality - sigmoid(logit)|^2 times their cross-entropy, element by element.

    The exponent is the paper's beta, 2 in SCRFD. Logits and qualities have the same shape;
    qualities are in [0, 1], 0 for background.
    """
    entropy = F.binary_cross_entropy_with_logits(logits, qualities, reduction="none")
    return (qualities - logits.sigmoid()).square() * entropy


@dataclass(frozen=True, kw_only=True, eq=False)
class _Positives:
    """Positive anchors and their faces; `face_P` is an index into the faces of all images."""

    places: Places
    level_P: Tensor
    stride_P: Tensor
    centers_P2: Tensor
    face_P: Tensor
    boxes_P4: Tensor


def _find_positives(
    anchors: Anchors, targets: Sequence[Targets], assigned_BA: Tensor
) -> _Positives:
    image_P, anchor_P = assigned_BA.nonzero(as_tuple=True)
    counts = [0, *(target.boxes_G4.shape[0] for target in targets)]
    first_face_B = torch.tensor(counts).cumsum(0).to(assigned_BA.device, non_blocking=True)
    face_P = first_face_B[image_P] + assigned_BA[image_P, anchor_P] - 1
    return _Positives(
        places=places_of(anchors, len(targets), image_P, anchor_P),
        level_P=anchors.levels_A[anchor_P],
        stride_P=anchors.strides_A[anchor_P],
        centers_P2=anchors.centers_A2[anchor_P],
        face_P=face_P,
        boxes_P4=torch.cat([target.boxes_G4 for target in targets]).float()[face_P],
    )


def _score_sums(
    outputs: HeadOutputs, scores: Tensor, positives: _Positives, qualities_P: Tensor
) -> Tensor:
    qualities = torch.zeros_like(scores)
    qualities[positives.places.score_index_P] = qualities_P
    losses = quality_focal_loss(scores, qualities)
    sizes = [level.numel() for level in outputs.scores]
    return torch.stack([level.sum() for level in torch.split(losses, sizes)])


def _box_losses(outputs: HeadOutputs, positives: _Positives) -> tuple[Tensor, Tensor]:
    """Return the DIoU losses (P,) and the detached IoUs (P,), both in stride units."""
    stride_P1 = positives.stride_P[:, None]
    distances_P4 = pick(outputs.boxes, positives.places, BOX_VALUES)
    predicted_P4 = boxes_from_distances(positives.centers_P2 / stride_P1, distances_P4)
    truth_P4 = positives.boxes_P4 / stride_P1
    return 1 - diou(predicted_P4, truth_P4), iou(predicted_P4.detach(), truth_P4)


def _keypoint_losses(
    outputs: HeadOutputs, targets: Sequence[Targets], positives: _Positives
) -> Tensor:
    """Return smooth L1 (P,) summed over the five points, times the mean weight of the points."""
    if outputs.keypoints is None:
        return torch.zeros_like(positives.stride_P)
    shape = (-1, NUM_KEYPOINTS, 2)
    predicted_P52 = pick(outputs.keypoints, positives.places, NUM_KEYPOINTS * 2).reshape(shape)
    truth_P53 = torch.cat([_keypoints(target) for target in targets])[positives.face_P]
    shifts_P52 = truth_P53[:, :, :2] - positives.centers_P2[:, None]
    shifts_P52 = shifts_P52 / positives.stride_P[:, None, None]
    losses = F.smooth_l1_loss(predicted_P52, shifts_P52, reduction="none", beta=KEYPOINT_BETA)
    return losses.sum(dim=(1, 2)) * truth_P53[:, :, 2].mean(dim=1)


def _keypoints(target: Targets) -> Tensor:
    if target.keypoints_G53 is not None:
        return target.keypoints_G53.float()
    return target.boxes_G4.new_zeros((target.boxes_G4.shape[0], NUM_KEYPOINTS, 3)).float()


def _sum_by_level(values_P: Tensor, positives: _Positives) -> Tensor:
    # Masked sums are reproducible; an indexed add varies its order of summation on a GPU.
    levels = range(len(STRIDES))
    return torch.stack([(values_P * (positives.level_P == level)).sum() for level in levels])
