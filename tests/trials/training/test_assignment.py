"""The windowed assignment against a plain one that compares every anchor with every face."""

import math

import pytest
import torch

from trials.detection.anchors import anchors_for
from trials.training.assignment import assign_batch


def assign(anchors, boxes):
    return assign_batch(anchors, [boxes])[0]


def plain_assignment(anchors, boxes):
    """Assign as ATSS does: face by face, distance to every anchor, stable sort."""
    best = torch.full((len(anchors),), -1.0)
    assigned = torch.zeros(len(anchors), dtype=torch.int64)
    for rank, box in enumerate(boxes):
        center = (box[:2] + box[2:]) / 2
        distances = (anchors.centers_A2 - center).pow(2).sum(dim=1).sqrt()
        candidates = []
        for start, size in zip(anchors.level_starts, anchors.level_sizes, strict=True):
            order = distances[start : start + size].argsort(stable=True)
            candidates += (order[:9] + start).tolist()
        overlaps = torch.stack([plain_iou(anchors.boxes_A4[index], box) for index in candidates])
        threshold = overlaps.mean() + overlaps.std()
        area = (box[2] - box[0]) * (box[3] - box[1])
        least = 0.001 * area.clamp(min=1e-4).sqrt()
        for index, overlap in zip(candidates, overlaps, strict=True):
            x, y = anchors.centers_A2[index]
            margin = torch.stack((x - box[0], y - box[1], box[2] - x, box[3] - y)).min()
            if overlap >= threshold and margin > least and overlap > best[index]:
                best[index] = overlap
                assigned[index] = rank + 1
    return assigned


def plain_iou(a, b):
    width = (torch.minimum(a[2], b[2]) - torch.maximum(a[0], b[0])).clamp(min=0)
    height = (torch.minimum(a[3], b[3]) - torch.maximum(a[1], b[1])).clamp(min=0)
    union = (a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - width * height
    return width * height / union.clamp(min=1e-6)


def random_faces(generator, count, kind, height, width):
    random = torch.rand(count, 4, generator=generator)
    span = torch.tensor([width, height])
    centers, sides = random[:, :2] * span, 4 + random[:, 2:] * 60
    if kind == "outside":
        centers = (random[:, :2] * 3 - 1) * span
        sides = random[:, 2:] * 2 * span
    elif kind == "giant":
        sides = span * (1 + random[:, 2:] * 3)
    elif kind == "tiny":
        sides = random[:, 2:] * 3
    elif kind == "empty":
        sides = sides * torch.tensor([0.0, 1.0])
    elif kind == "on cells":
        centers, sides = (centers / 8).round() * 8, (sides / 8).round() * 8
    elif kind == "between cells":
        centers, sides = (centers / 4).round() * 4, (sides / 8).round() * 8
    elif kind == "log sizes":
        sides = 4 * torch.exp(random[:, 2:] * math.log(100))
    return torch.cat((centers - sides / 2, centers + sides / 2), dim=1)


KINDS = ("ordinary", "outside", "giant", "tiny", "empty", "on cells", "between cells", "log sizes")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("size", [(160, 160), (96, 224), (33, 50), (20, 200)])
def test_the_assignment_equals_the_plain_one(kind, size):
    anchors = anchors_for(*size)
    generator = torch.Generator().manual_seed(sum(size))
    boxes = random_faces(generator, 24, kind, *size)
    assert torch.equal(assign(anchors, boxes), plain_assignment(anchors, boxes))


def test_the_images_of_a_batch_are_assigned_independently():
    anchors = anchors_for(128, 128)
    generator = torch.Generator().manual_seed(0)
    images = [random_faces(generator, count, "ordinary", 128, 128) for count in (3, 0, 11, 1)]
    found = assign_batch(anchors, images)
    assert torch.equal(found, torch.stack([assign(anchors, boxes) for boxes in images]))
    assert found.amax(dim=1).tolist()[1] == 0


def test_no_faces_means_all_background():
    found = assign_batch(anchors_for(64, 64), [torch.zeros(0, 4), torch.zeros(0, 4)])
    assert found.shape == (2, len(anchors_for(64, 64)))
    assert found.dtype == torch.int64
    assert not found.any()


def test_equal_faces_go_to_the_first():
    box = torch.tensor([[20.0, 20.0, 52.0, 52.0]])
    assert assign(anchors_for(64, 64), box.repeat(3, 1)).unique().tolist() == [0, 1]


def test_half_precision_faces_are_accepted():
    anchors = anchors_for(128, 128)
    boxes = torch.tensor([[32.0, 32.0, 64.0, 64.0]])
    assert torch.equal(assign(anchors, boxes.half()), assign(anchors, boxes))


def test_centers_of_any_magnitude_keep_indices_in_range():
    boxes = torch.tensor([[-1e30, -1e30, 1e30, 1e30], [1e12, 1e12, 2e12, 2e12]])
    found = assign(anchors_for(64, 96), boxes)
    assert 0 <= int(found.min()) <= int(found.max()) <= 2


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize("kind", KINDS)
def test_gpu_assigns_as_the_cpu_does(kind):
    boxes = random_faces(torch.Generator().manual_seed(1), 50, kind, 640, 640)
    found = assign(anchors_for(640, 640, "cuda"), boxes.cuda())
    assert torch.equal(found.cpu(), assign(anchors_for(640, 640), boxes))
