"""Time of validation inference, from files to detections.

Baseline, as in common scripts: the network as trained, in evaluation mode and in torch's
default memory format, one image at a time; OpenCV for decoding and resizing; boxes decoded and
suppressed per image. Ours: `trials.evaluation.inference`: norms folded into the convolutions,
channels-last memory, on a CPU an image a thread, and in batches of `--batch-size`.

Both must find the same faces. The gain of each change is printed too. On a CPU two more ratios
follow: the network's share of an evaluation on one thread, and an image a thread on all cores
against one thread. CPU seconds with `--threads 1`; more threads are measured in wall time.
"""

import statistics
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from _common import CPU, WALL, arguments, medians, seconds, set_threads, show, verdict

STRIDES = (8, 16, 32)
SCORE, NMS = 0.02, 0.45


def usual_input(path, size):
    """Return (image (1, 3, size, size), scales, fitted size) of one file."""
    import cv2
    import torch

    pixels = cv2.cvtColor(cv2.imread(str(path)), cv2.COLOR_BGR2RGB)
    scale = size / max(pixels.shape[:2])
    height, width = (int(side * scale + 0.5) for side in pixels.shape[:2])
    image = (cv2.resize(pixels, (width, height)).astype(np.float32) - 127.5) / 128
    padded = np.zeros((size, size, 3), np.float32)
    padded[:height, :width] = image
    scales = (width / pixels.shape[1], height / pixels.shape[0])
    return torch.from_numpy(padded.transpose(2, 0, 1).copy())[None], scales, (height, width)


def usual_detections(outputs, fitted):
    """Return boxes (N, 4) and scores (N,) of one image: decoded level by level, then NMS."""
    import torch
    from torchvision.ops import nms

    boxes, scores = [], []
    for stride, score, box in zip(STRIDES, outputs.scores, outputs.boxes, strict=True):
        rows, columns = score.shape[2:]
        score = score[0].permute(1, 2, 0).reshape(-1).sigmoid()
        sides = box[0].permute(1, 2, 0).reshape(-1, 4) * stride
        y, x = torch.meshgrid(torch.arange(rows), torch.arange(columns), indexing="ij")
        centers = torch.stack([x, y], dim=2).reshape(-1, 2).repeat_interleave(2, dim=0) * stride
        kept = score > SCORE
        low, high = centers[kept] - sides[kept, :2], centers[kept] + sides[kept, 2:]
        boxes.append(torch.cat([low, high], dim=1))
        scores.append(score[kept])
    boxes, scores = torch.cat(boxes), torch.cat(scores)
    limits = torch.tensor([fitted[1], fitted[0]] * 2, dtype=torch.float32)
    boxes = torch.minimum(boxes.clamp(min=0), limits)
    kept = nms(boxes, scores, NMS)
    return boxes[kept], scores[kept]


def usual_inference(detector, paths, size):
    """Return the detections of each file in its pixels."""
    import torch

    found = []
    with torch.no_grad():
        for path in paths:
            image, scales, fitted = usual_input(path, size)
            boxes, scores = usual_detections(detector(image), fitted)
            found.append((boxes / torch.tensor(scales * 2), scores))
    return found


def trained_detector(reference):
    """Return a detector with scores near the threshold, so that some hundred boxes remain."""
    import torch

    from search_spaces.network.detector import build_detector
    from search_spaces.zoo import resolve_architecture

    detector = build_detector(resolve_architecture(reference)).eval()
    for conv in detector.head.scores:
        torch.nn.init.normal_(conv.weight, std=3.0, generator=torch.Generator().manual_seed(1))
    for conv in detector.head.boxes:
        torch.nn.init.constant_(conv.bias, 2.0)
    return detector


def check_equal(usual, ours):
    """Check that both find the same faces, except a few at the threshold."""
    assert any(len(scores) for _, scores in usual), "nothing to compare: no score is high enough"
    for (boxes, scores), found in zip(usual, ours, strict=True):
        several = max(len(scores), 1)
        assert abs(len(scores) - len(found)) <= 0.02 * several, (len(scores), len(found))
        high, low = scores.numpy()[: several // 2], found.scores_N[: several // 2]
        assert np.allclose(high[: len(low)], low[: len(high)], atol=1e-3)
        assert len(boxes) == len(scores)


@dataclass(frozen=True, kw_only=True)
class Setup:
    """Networks and inputs of both sides."""

    usual: Any
    ours: Any
    images: Any  # (batch, 3, size, size)
    size: int
    device: Any

    def detect(self, paths, batch_size):
        """Return our detections of files."""
        from trials.evaluation.inference import detect_files, input_size

        size = input_size(str(self.size))
        return list(detect_files(self.ours, paths, size, device=self.device, batch_size=batch_size))

    def at_once(self, paths, threads, predict=None):
        """Return our detections of files on a CPU, an image a thread."""
        from trials.evaluation.inference import detect_in_threads, input_size

        size = input_size(str(self.size))
        return list(detect_in_threads(predict or self.ours, paths, size, threads))

    def forward(self, model, pixels, batch_size):
        """Run a network on all images, `batch_size` at a time."""
        import torch

        from trials.device import synchronize

        with torch.inference_mode():
            for start in range(0, len(pixels), batch_size):
                model(pixels[start : start + batch_size])
        synchronize(self.device)


def set_up(options):
    """Return the networks and inputs for these options."""
    import torch

    from trials.detection.folding import folded
    from trials.device import resolve_device

    device = resolve_device(options.device)
    size, batch = (64, 2) if options.quick else (options.image_size, options.batch_size)
    usual = trained_detector(options.architecture).to(device)
    images = torch.randn(batch, 3, size, size, device=device)
    return Setup(usual=usual, ours=folded(usual), images=images, size=size, device=device)


def image_files(options, scratch):
    """Return the paths of the images, which are drawn without `--data`."""
    from trials.data.dataset import FaceDataset
    from trials.data.generated.generate import generate

    root, number = options.data, 2 if options.quick else options.images
    if root is None:
        root = Path(scratch) / "data"
        generate(root, num_train=1, num_val=number, long_side=(1024, 1024))
    return [image.path for image in FaceDataset(root, "val").images[:number]]


def compared_runs(setup, paths, threads):
    """Return (function, images) of each measurement by name."""
    import torch

    images, batch, files = setup.images, len(setup.images), len(paths)
    packed = images.contiguous(memory_format=torch.channels_last)
    runs = {
        "ours, from files, in batches": (lambda: setup.detect(paths, batch), files),
        "network as trained, default memory": (
            lambda: setup.forward(setup.usual, images, 1),
            batch,
        ),
        "network folded, channels-last": (lambda: setup.forward(setup.ours, packed, 1), batch),
        "network folded, batches": (lambda: setup.forward(setup.ours, packed, batch), batch),
    }
    if setup.device.type == "cpu":  # the baseline is written for a CPU
        usual = (lambda: usual_inference(setup.usual, paths, setup.size), files)
        ours = (lambda: setup.at_once(paths, threads), files)
        runs = {"baseline, from files": usual, "ours, from files, an image a thread": ours, **runs}
    return runs


def network_share(setup, paths):
    """Return the network's share of the CPU time of an evaluation on one thread."""
    inside = []

    def timed(images):
        outputs = []
        inside.append(seconds(lambda: outputs.append(setup.ours(images))))
        return outputs[0]

    total = seconds(lambda: setup.at_once(paths, 1, timed))
    return sum(inside) / total


def show_cpu_ratios(setup, paths, rounds):
    """Print the network's share, and the speed of all cores against one thread."""
    from trials.device import available_cores

    shares = [network_share(setup, paths) for _ in range(rounds)]
    verdict("network / total, one thread", statistics.median(shares), 0.85)
    cores = available_cores()
    runs = [lambda threads=threads: setup.at_once(paths, threads) for threads in (1, cores)]
    one, several = medians(runs, rounds, WALL)
    verdict(f"{cores} images at once against one thread (wall)", one / several, 0.9 * cores)


def main(argv=None):
    options = arguments(
        __doc__,
        ("--architecture", {"default": "scrfd_0.5g"}),
        ("--data", {"type": Path, "help": "data folder (default: drawn images of 1024 px)"}),
        ("--image-size", {"type": int, "default": 640}),
        ("--batch-size", {"type": int, "default": 8}),
        ("--images", {"type": int, "default": 16}),
        ("--device", {"default": "auto"}),
    ).parse_args(argv)
    set_threads(options.threads)
    setup = set_up(options)
    on_cpu = setup.device.type == "cpu"
    rounds = 1 if options.quick else options.rounds
    with tempfile.TemporaryDirectory() as scratch:
        paths = image_files(options, scratch)
        if on_cpu:
            usual = usual_inference(setup.usual, paths, setup.size)
            check_equal(usual, setup.detect(paths, len(setup.images)))
            check_equal(usual, setup.at_once(paths, 2))
        runs = compared_runs(setup, paths, options.threads)
        clock = CPU if on_cpu and options.threads == 1 else WALL
        measured = medians([function for function, _ in runs.values()], rounds, clock)
        if on_cpu:
            show_cpu_ratios(setup, paths, rounds)
    times = {name: s / runs[name][1] for name, s in zip(runs, measured, strict=True)}
    for name, value in times.items():
        show(f"{name}, per image", value)
    *ours, trained, folded, batched = list(times.values())[-5:]
    verdict("the network alone", trained / min(folded, batched))
    if "baseline, from files" in times:
        verdict("validation inference", times["baseline, from files"] / min(ours), 3)


if __name__ == "__main__":
    main()
