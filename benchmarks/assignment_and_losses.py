"""Time of ATSS and the losses: batch 8, 640 px, 20 faces per image.

Baseline: the same computation with loops over images and faces. Ours:
`trials.training.losses.detection_loss`. Both include the gradients with respect to the outputs and
must agree. The share of a training step is that of SCRFD-0.5G on this CPU (`--architecture`).
"""

from argparse import Namespace

import numpy as np
from _common import arguments, best_of, medians, set_threads, show, verdict
from _gpu_steps import make_steps

STRIDES = (8, 16, 32)
GRIDS = (80, 40, 20)


def make_batch(images, faces, seed=0):
    """Return random outputs that require gradients, and random faces."""
    import torch

    from search_spaces.network.head import HeadOutputs
    from trials.training.targets import Targets

    generator = torch.Generator().manual_seed(seed)
    rng = np.random.default_rng(seed)
    scores = [torch.randn(images, 2, n, n, generator=generator) - 3 for n in GRIDS]
    boxes = [5 * torch.rand(images, 8, n, n, generator=generator) for n in GRIDS]
    targets = []
    for _ in range(images):
        sides = np.exp(rng.uniform(np.log(8), np.log(200), (faces, 2)))
        corners = rng.uniform(0, 640 - sides)
        boxes_G4 = np.concatenate([corners, corners + sides], axis=1).astype(np.float32)
        targets.append(Targets(boxes_G4=torch.from_numpy(boxes_G4), keypoints_G53=None))
    for level in (*scores, *boxes):
        level.requires_grad_()
    return HeadOutputs(scores, boxes, None), targets


def one_iou(box, boxes):
    """Return the IoU of one box with many."""
    import torch

    low, high = torch.maximum(box[:2], boxes[:, :2]), torch.minimum(box[2:], boxes[:, 2:])
    inter = (high - low).clamp(min=0).prod(dim=1)
    areas = (boxes[:, 2:] - boxes[:, :2]).prod(dim=1)
    return inter / ((box[2:] - box[:2]).prod() + areas - inter).clamp(min=1e-6)


def assign_by_loops(anchors, boxes_G4):
    """Assign by ATSS for one image, face by face and level by level."""
    import torch

    assigned = torch.zeros(len(anchors), dtype=torch.int64)
    best = torch.full((len(anchors),), -1.0)
    for face, box in enumerate(boxes_G4, start=1):
        center = (box[:2] + box[2:]) / 2
        distances = (anchors.centers_A2 - center).square().sum(dim=1).sqrt()
        chosen, start = [], 0
        for height, width in anchors.grids:
            end = start + 2 * height * width
            chosen.append(distances[start:end].sort(stable=True).indices[:9] + start)
            start = end
        candidates = torch.cat(chosen)
        overlaps = one_iou(box, anchors.boxes_A4[candidates])
        threshold = overlaps.mean() + overlaps.std()
        least = 0.001 * (box[2:] - box[:2]).prod().clamp(min=1e-4).sqrt()
        centers = anchors.centers_A2[candidates]
        inside = torch.cat([centers - box[:2], box[2:] - centers], dim=1).amin(dim=1) > least
        wins = (overlaps >= threshold) & inside & (overlaps > best[candidates])
        assigned[candidates[wins]] = face
        best[candidates[wins]] = overlaps[wins]
    return assigned


def loss_by_loops(outputs, targets):
    """Return the quality focal loss plus the DIoU loss, image by image."""
    import torch
    from torch.nn import functional as F

    from trials.detection.head_layout import anchors_for_outputs

    anchors = anchors_for_outputs(outputs)
    cls, box, weights, samples = 0.0, 0.0, 0.0, 0
    for image, target in enumerate(targets):
        assigned = assign_by_loops(anchors, target.boxes_G4)
        scores = torch.cat([level[image].permute(1, 2, 0).reshape(-1) for level in outputs.scores])
        sides = torch.cat([level[image].permute(1, 2, 0).reshape(-1, 4) for level in outputs.boxes])
        positive = assigned.nonzero()[:, 0]
        strides, centers = anchors.strides_A[positive, None], anchors.centers_A2[positive]
        found = sides[positive]
        low, high = centers / strides - found[:, :2], centers / strides + found[:, 2:]
        truth = target.boxes_G4[assigned[positive] - 1] / strides
        inter = (torch.minimum(high, truth[:, 2:]) - torch.maximum(low, truth[:, :2])).clamp(min=0)
        inter = inter.prod(dim=1)
        union = (high - low).prod(dim=1) + (truth[:, 2:] - truth[:, :2]).prod(dim=1) - inter
        overlap = inter / (union + 1e-6)
        hull = torch.maximum(high, truth[:, 2:]) - torch.minimum(low, truth[:, :2])
        apart = ((low + high - truth[:, :2] - truth[:, 2:]) / 2).square().sum(dim=1)
        diou = overlap - apart / (hull.square().sum(dim=1) + 1e-6)
        quality = torch.zeros_like(scores)
        quality[positive] = (inter / union.clamp(min=1e-6)).detach()
        entropy = F.binary_cross_entropy_with_logits(scores, quality, reduction="none")
        cls = cls + ((quality - scores.sigmoid()).square() * entropy).sum()
        weight = scores[positive].detach().sigmoid()
        box = box + 2 * ((1 - diou) * weight).sum()
        weights, samples = weights + weight.sum(), samples + max(len(positive), 1)
    return cls / samples + box / weights


def training_step_seconds(architecture, images, rounds):
    """Return the time of a whole training step on a batch in memory."""
    from search_spaces.zoo import resolve_architecture

    options = Namespace(batch_size=images, image_size=640, device="cpu")
    return best_of(make_steps(resolve_architecture(architecture), "fp32", options)[0], rounds)


def main(argv=None):
    options = arguments(
        __doc__, ("--architecture", {"default": "scrfd_0.5g", "help": "of the step (scrfd_0.5g)"})
    ).parse_args(argv)
    set_threads(options.threads)
    from trials.training.losses import detection_loss

    images, faces = (2, 4) if options.quick else (8, 20)
    outputs, targets = make_batch(images, faces)

    def loops():
        loss = loss_by_loops(outputs, targets)
        loss.backward()
        return loss.item()

    def ours():
        loss = detection_loss(outputs, targets).total
        loss.backward()
        return loss.item()

    apart = abs(loops() - ours()) / ours()
    assert apart < 1e-3, f"the two losses differ by {apart:.2g} of their value"
    rounds = 1 if options.quick else options.rounds
    slow, fast = medians([loops, ours], rounds)
    show("baseline: loops over images and faces", slow)
    show("ours: assignment, losses and their gradients", fast)
    verdict("assignment and losses", slow / fast, 10)
    step = training_step_seconds(
        options.architecture, images, 1 if options.quick else options.rounds
    )
    show(f"a training step of {options.architecture}, {images} images of 640 px", step)
    print(f"share of a training step: {fast / step:.2%} (goal: under 2 %)")


if __name__ == "__main__":
    main()
