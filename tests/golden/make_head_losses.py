"""Write head_losses.npz: small head outputs with their assignment, losses and gradients.

    python tests/golden/make_head_losses.py

The numbers are this project's own, written when every case of the reference's head losses
agreed to 1e-5. They serve where the reference data are absent. Inputs are stored as whole
numbers of 1/16, so that reading them needs no random generator.
"""

import sys
from pathlib import Path

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from search_spaces.network.head import HeadOutputs
from trials.detection.anchors import anchors_for, grids_for
from trials.training.assignment import assign_batch
from trials.training.losses import detection_loss
from trials.training.targets import Targets

OUT = Path(__file__).with_name("head_losses.npz")
# name: (seed, faces of each image, input size, with key points)
CASES = {
    "plain": (1, (1, 7), (64, 96), False),
    "keypoints": (2, (5, 0, 3), (96, 64), True),
    "odd_size": (3, (4,), (76, 100), False),
    "no_faces": (4, (0, 0), (64, 64), True),
}


def main():
    stored = {}
    for name, case in CASES.items():
        stored.update({f"{name}.{key}": value for key, value in make_case(*case).items()})
    np.savez_compressed(OUT, **stored)
    sys.stderr.write(f"{OUT}: {OUT.stat().st_size} bytes\n")


def make_case(seed, counts, size, with_keypoints):
    rng = np.random.default_rng(seed)
    images, grids = len(counts), grids_for(*size)
    ranges = {"scores": (2, -100, 30), "boxes": (8, -5, 80), "keypoints": (20, -40, 40)}
    if not with_keypoints:
        del ranges["keypoints"]
    inputs = {
        f"{name}_{level}": rng.integers(low, high, (images, channels, *grid)).astype(np.int8)
        for name, (channels, low, high) in ranges.items()
        for level, grid in enumerate(grids)
    }
    faces, points, image = make_faces(rng, counts, size)
    facts = {"size": np.array(size), "images": np.array(images), "image": image}
    inputs |= {**facts, "faces": faces, "points": points}
    return {**inputs, **compute(inputs)}


def make_faces(rng, counts, size):
    total = sum(counts)
    sides = rng.integers(6 * 4, 60 * 4, (total, 2)) / 4
    centers = rng.integers(0, np.array(size[::-1]) * 4, (total, 2)) / 4
    points = np.concatenate(
        (
            centers[:, None] + rng.integers(-40, 40, (total, 5, 2)) / 4,
            rng.integers(0, 2, (total, 5, 1)),
        ),
        axis=2,
    )
    boxes = np.concatenate((centers - sides / 2, centers + sides / 2), axis=1)
    return (
        boxes.astype(np.float32),
        points.astype(np.float32),
        np.repeat(range(len(counts)), counts),
    )


def levels(inputs, name):
    if f"{name}_0" not in inputs:
        return None
    return [
        torch.tensor(inputs[f"{name}_{level}"] / 16, dtype=torch.float32, requires_grad=True)
        for level in range(3)
    ]


def compute(inputs):
    """Return assignment, losses and gradients of the stored inputs of a case."""
    head = HeadOutputs(*(levels(inputs, name) for name in ("scores", "boxes", "keypoints")))
    targets = [
        Targets(
            boxes_G4=torch.tensor(inputs["faces"][inputs["image"] == here]),
            keypoints_G53=torch.tensor(inputs["points"][inputs["image"] == here]),
        )
        for here in range(int(inputs["images"]))
    ]
    anchors = anchors_for(*inputs["size"].tolist())
    assigned = assign_batch(anchors, [target.boxes_G4 for target in targets])
    assigned = assigned.numpy().astype(np.int16)
    terms = detection_loss(head, targets)
    terms.total.backward()
    gradients = {
        f"{name}_gradient": torch.cat([level.grad.flatten() for level in tensors]).numpy()
        for name, tensors in (("scores", head.scores), ("boxes", head.boxes))
    }
    losses = (
        torch.stack((terms.levels.cls_L, terms.levels.box_L, terms.levels.keypoint_L))
        .detach()
        .numpy()
    )
    return {"assigned": assigned, "losses": losses, **gradients}


if __name__ == "__main__":
    main()
