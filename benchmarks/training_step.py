"""How much of a training step is the network's own arithmetic?

Baseline: forward and backward of the same network (channels-last, as ours) on a batch that
lies in memory, with the sum of the outputs as loss and nothing else. Ours: a whole step of
`trials.training.epoch` (assignment, losses, optimiser, moving average) on the resident batch, and
one that prepares its samples too, from the file cache.
"""

import tempfile
from pathlib import Path

from _common import WALL, arguments, medians, set_threads, show, verdict


def resident_step(architecture, images, size, recipe="reference", device="cpu"):
    """Our training step on a batch in memory, and the network's forward and backward alone."""
    import torch

    from search_spaces.zoo import resolve_architecture
    from trials.device import resolve_precision
    from trials.recipe import load_recipe
    from trials.training.epoch import Batch, train_step
    from trials.training.state import start_training
    from trials.training.targets import Targets

    where = torch.device(device)
    training = start_training(
        resolve_architecture(architecture),
        load_recipe(recipe),
        seed=0,
        device=where,
        precision=resolve_precision("fp32", where),
    )
    generator = torch.Generator().manual_seed(0)
    pixels = torch.randn(images, 3, size, size, generator=generator).to(where)
    corners = (size - 100) * torch.rand(images, 20, 2, generator=generator)
    sides = 8 + 80 * torch.rand(images, 20, 2, generator=generator)
    boxes = torch.cat([corners, corners + sides], dim=2).to(where)
    targets = [Targets(boxes_G4=box, keypoints_G53=None) for box in boxes]
    batch = Batch(images_B3HW=pixels, targets=targets, names=["?"] * images)
    resident = pixels.contiguous(memory_format=torch.channels_last)

    def alone():
        training.model.zero_grad(set_to_none=True)
        outputs = training.model(resident)
        torch.stack([level.sum() for level in (*outputs.scores, *outputs.boxes)]).sum().backward()

    return (lambda: train_step(training, batch, 1e-6)), alone, training


def fed_step(training, root, cache, images, size):
    """A training step whose samples come from the file cache, which is filled first."""
    from trials.data.cache import ImageCache
    from trials.data.dataset import FaceDataset
    from trials.loading.loader import TrainingLoader
    from trials.loading.training_set import TrainingSet
    from trials.training.epoch import Batch, train_step
    from trials.training.targets import Targets

    dataset = FaceDataset(root, "train", faceless=False)
    dataset.images = dataset.images[: 2 * images]  # few, so that all are in the cache below
    samples = TrainingSet(dataset, image_size=size, seed=0, cache=ImageCache(cache, dataset.images))
    loader = TrainingLoader(samples, batch_size=images, drop_last=True)

    def batches():
        while True:
            yield from loader.batches(0)

    for index in range(len(samples)):
        samples.sample(index, 0)
    source = batches()

    def step():
        pixels, faces = next(source)
        targets = [Targets.from_faces(item) for item in faces]
        train_step(training, Batch(images_B3HW=pixels, targets=targets, names=[""] * images), 1e-6)

    return step


def main(argv=None):
    options = arguments(
        __doc__,
        ("--architecture", {"default": "scrfd_0.5g", "help": "what to train (scrfd_0.5g)"}),
        ("--image-size", {"type": int, "default": 640}),
        ("--batch-size", {"type": int, "default": 8}),
        ("--recipe", {"default": "reference"}),
        ("--data", {"type": Path, "help": "data folder; else images of 1024 px are drawn"}),
        ("--wall", {"action": "store_true", "help": "wall time, on a machine of one's own"}),
    ).parse_args(argv)
    set_threads(options.threads)
    from trials.data.generated.generate import generate

    images, size = (2, 64) if options.quick else (options.batch_size, options.image_size)
    resident, alone, training = resident_step(options.architecture, images, size, options.recipe)
    with tempfile.TemporaryDirectory() as scratch:
        root = options.data
        if root is None:
            root = Path(scratch) / "data"
            generate(root, num_train=2 * images, num_val=1, long_side=(1024, 1024))
        fed = fed_step(training, root, Path(scratch) / "cache", images, size)
        rounds = 1 if options.quick else options.rounds
        clock = {"clock": WALL} if options.wall else {}
        base, ours, whole = medians([alone, resident, fed], rounds, **clock)
    show(f"baseline: forward and backward of {options.architecture}, {images} images", base)
    show("ours: the whole step on a resident batch", ours)
    show("ours: the same with its input, from the file cache", whole)
    verdict("throughput against the network alone, resident batch", base / ours, 0.9)
    verdict("throughput against the network alone, with input", base / whole, 0.9)


if __name__ == "__main__":
    main()
