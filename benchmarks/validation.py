"""How fast is validation inference, from files to detections?

Baseline, as the usual script has it: the network as it was trained, in evaluation mode and
in torch's default memory order, one image at a time; OpenCV's resizing in numpy, its steps
one after the other on whole images; boxes decoded and suppressed image by image. Ours: what
`validation` in
`trials.evaluation` runs: norms folded into the convolutions, channels-last memory, resizing
by blocks of rows that stay in the processor's cache, batches of `--batch-size`.

Both must find the same faces. What each change gains is printed too, and the same with one
image at a time. CPU seconds with `--threads 1`; more threads are timed by the clock.
"""

import tempfile
from pathlib import Path

import numpy as np
from _common import CPU, WALL, arguments, medians, set_threads, show, verdict

STRIDES = (8, 16, 32)
SCORE, NMS = 0.02, 0.45


def taps(source, target, zero_at_border):
    """As OpenCV: for each output index two input indices and the second one's weight."""
    at = ((np.arange(target) + 0.5) * (source / target) - 0.5).astype(np.float32)
    low = np.floor(at).astype(np.int64)
    weight = at - low.astype(np.float32)
    if zero_at_border:
        weight[(low < 0) | (low >= source - 1)] = 0
    weight = np.rint(weight * 2048).astype(np.int32)
    return np.clip(low, 0, source - 1), np.clip(low + 1, 0, source - 1), weight


def usual_resize(image, height, width):
    """OpenCV's fixed-point bilinear resizing of the whole image, step by step."""
    left, right, weight = taps(image.shape[1], width, True)
    weight = weight[:, None]
    wide = image[:, left] * (np.int32(2048) - weight) + image[:, right] * weight >> 4
    top, bottom, weight = taps(image.shape[0], height, False)
    weight = weight[:, None, None]
    upper, lower = wide[top] * (np.int32(2048) - weight) >> 16, wide[bottom] * weight >> 16
    return (upper + lower + 2 >> 2).astype(np.uint8)


def usual_input(path, size):
    """(image (1, 3, size, size), scale, fitted size) of one file."""
    import torch

    from trials.data.images import read_image

    pixels = read_image(path)
    scale = size / max(pixels.shape[:2])
    height, width = (int(side * scale + 0.5) for side in pixels.shape[:2])
    image = (usual_resize(pixels, height, width).astype(np.float32) - 127.5) / 128
    padded = np.zeros((size, size, 3), np.float32)
    padded[:height, :width] = image
    scales = (width / pixels.shape[1], height / pixels.shape[0])
    return torch.from_numpy(padded.transpose(2, 0, 1).copy())[None], scales, (height, width)


def usual_detections(outputs, fitted):
    """Boxes (N, 4) and scores (N,) of one image: decoded level by level, then suppressed."""
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
    """Detections of each file, in its pixels."""
    import torch

    found = []
    with torch.no_grad():
        for path in paths:
            image, scales, fitted = usual_input(path, size)
            boxes, scores = usual_detections(detector(image), fitted)
            found.append((boxes / torch.tensor(scales * 2), scores))
    return found


def trained_detector(reference):
    """A detector whose scores are near the threshold, so that some hundred boxes survive."""
    import torch

    from search_spaces.network.detector import build_detector
    from search_spaces.zoo import resolve_architecture

    detector = build_detector(resolve_architecture(reference)).eval()
    for conv in detector.head.scores:
        torch.nn.init.normal_(conv.weight, std=0.05, generator=torch.Generator().manual_seed(1))
    for conv in detector.head.boxes:
        torch.nn.init.constant_(conv.bias, 2.0)
    return detector


def check_equal(usual, ours):
    """Both find the same faces; a few at a threshold may fall on either side of it."""
    for (boxes, scores), found in zip(usual, ours, strict=True):
        several = max(len(scores), 1)
        assert abs(len(scores) - len(found)) <= 0.02 * several, (len(scores), len(found))
        high, low = scores.numpy()[: several // 2], found.scores_N[: several // 2]
        assert np.allclose(high[: len(low)], low[: len(high)], atol=1e-3)
        assert len(boxes) == len(scores)


def main(argv=None):
    options = arguments(
        __doc__,
        ("--architecture", {"default": "scrfd_0.5g"}),
        ("--data", {"type": Path, "help": "data folder; else images of 1024 px are drawn"}),
        ("--image-size", {"type": int, "default": 640}),
        ("--batch-size", {"type": int, "default": 8}),
        ("--images", {"type": int, "default": 16}),
        ("--device", {"default": "auto"}),
    ).parse_args(argv)
    set_threads(options.threads)
    import torch

    from trials.data.dataset import FaceDataset
    from trials.data.generated.generate import generate
    from trials.data.images import read_image, resize
    from trials.detection.folding import folded
    from trials.device import resolve_device
    from trials.evaluation.inference import detect_files, input_size

    device = resolve_device(options.device)
    size = 64 if options.quick else options.image_size
    batch = 2 if options.quick else options.batch_size
    usual = trained_detector(options.architecture).to(device)
    ours = folded(usual)
    images = torch.randn(batch, 3, size, size, device=device)
    packed = images.contiguous(memory_format=torch.channels_last)

    def network(model, pixels, at_once):
        with torch.inference_mode():
            for start in range(0, batch, at_once):
                model(pixels[start : start + at_once])
        if device.type == "cuda":
            torch.cuda.synchronize()

    def detect(at_once):
        found = detect_files(ours, paths, input_size(str(size)), device=device, batch_size=at_once)
        return list(found)

    with tempfile.TemporaryDirectory() as scratch:
        root = options.data
        if root is None:
            root = Path(scratch) / "data"
            number = 2 if options.quick else options.images
            generate(root, num_train=1, num_val=number, long_side=(1024, 1024))
        paths = [image.path for image in FaceDataset(root, "val").images[: options.images]]
        if device.type == "cpu":
            check_equal(usual_inference(usual, paths, size), detect(batch))
        decoded = read_image(paths[0])
        scale = size / max(decoded.shape[:2])
        fitted = tuple(int(side * scale + 0.5) for side in decoded.shape[:2])
        assert np.array_equal(usual_resize(decoded, *fitted), resize(decoded, fitted))
        runs = {
            "baseline, from files": lambda: usual_inference(usual, paths, size),
            f"ours, from files, batches of {batch}": lambda: detect(batch),
            "ours, from files, one at a time": lambda: detect(1),
            "network as trained, default memory": lambda: network(usual, images, 1),
            "network folded, channels-last": lambda: network(ours, packed, 1),
            f"the same, batches of {batch}": lambda: network(ours, packed, batch),
            "resizing, numpy": lambda: usual_resize(decoded, *fitted),
            "resizing, OpenCV": lambda: resize(decoded, fitted),
        }
        if device.type != "cpu":
            del runs["baseline, from files"]  # it is written for a CPU
        clock = CPU if device.type == "cpu" and options.threads == 1 else WALL
        times = medians(list(runs.values()), 1 if options.quick else options.rounds, clock)
    per = [len(paths) if "files" in name else batch for name in runs]
    per[-2:] = 1, 1
    values = [taken / number for taken, number in zip(times, per, strict=True)]
    for name, value in zip(runs, values, strict=True):
        show(f"{name}, an image", value)
    named = dict(zip(runs, values, strict=True))
    verdict("resizing", values[-2] / values[-1])
    verdict("the network alone", values[-5] / min(values[-4:-2]))
    if "baseline, from files" in named:
        verdict("validation inference", values[0] / min(values[1:3]), 3)


if __name__ == "__main__":
    main()
