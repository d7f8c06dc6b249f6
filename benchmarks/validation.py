"""What does a batch gain in validation inference?

Baseline: one image at a time. Ours: batches of `--batch-size`. Both are
`trials.inference.detect_files` on the same files, with decoding, resizing and NMS; the
network alone is timed too. On a CPU `evaluate` uses batch 1 if that is what wins.
"""

import tempfile
from pathlib import Path

from _common import WALL, arguments, medians, set_threads, show, verdict


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

    from search_spaces.network.detector import build_detector
    from search_spaces.zoo import resolve_architecture
    from trials.data.dataset import FaceDataset
    from trials.data.generate import generate
    from trials.device import resolve_device
    from trials.inference import detect_files, input_size

    device = resolve_device(options.device)
    size = 64 if options.quick else options.image_size
    batch = 2 if options.quick else options.batch_size
    detector = build_detector(resolve_architecture(options.architecture)).eval()
    detector = detector.to(device, memory_format=torch.channels_last)

    def wait():
        if device.type == "cuda":
            torch.cuda.synchronize()

    with tempfile.TemporaryDirectory() as scratch:
        root = options.data
        if root is None:
            root = Path(scratch) / "data"
            number = 2 if options.quick else options.images
            generate(root, num_train=1, num_val=number, long_side=(1024, 1024))
        images = FaceDataset(root, "val").images[: options.images]
        paths = [image.path for image in images]

        def detect(at_once):
            found = detect_files(
                detector, paths, input_size("vga", size), device=device, batch_size=at_once
            )
            list(found)
            wait()

        pixels = torch.randn(batch, 3, size, size, device=device)
        pixels = pixels.contiguous(memory_format=torch.channels_last)

        def network(at_once):
            with torch.inference_mode():
                for start in range(0, batch, at_once):
                    detector(pixels[start : start + at_once])
            wait()

        runs = [
            lambda: detect(1),
            lambda: detect(batch),
            lambda: network(1),
            lambda: network(batch),
        ]
        clock = {"clock": WALL} if device.type == "cuda" else {}
        single, batched, alone, together = medians(
            runs, 1 if options.quick else options.rounds, **clock
        )
    show("baseline: one image at a time, an image", single / len(paths))
    show(f"ours: batches of {batch}, an image", batched / len(paths))
    show("the network alone, one at a time, an image", alone / batch)
    show(f"the network alone, batches of {batch}, an image", together / batch)
    verdict("the network alone", alone / together)
    verdict("validation inference", single / batched, 3)


if __name__ == "__main__":
    main()
