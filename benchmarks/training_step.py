"""Share of the forward and backward pass of the network in a training step.

Baseline: forward and backward of the same network (channels-last) on a batch in memory, with
the sum of the outputs as loss. Ours: a whole step of `trials.training.epoch` (assignment,
losses, optimiser, moving average) on the same batch, and one that also prepares its samples,
from the file cache.
"""

import tempfile
from pathlib import Path

from _common import WALL, arguments, medians, set_threads, show, verdict
from _gpu_steps import make_steps


def fed_step(training, root, cache, images, size):
    """Return a training step whose samples come from the file cache, which is filled first."""
    from trials.data.cache import ImageCache
    from trials.data.dataset import FaceDataset
    from trials.loading.loader import TrainingLoader
    from trials.loading.training_set import TrainingSet
    from trials.training.epoch import Batch, train_step
    from trials.training.targets import Targets

    dataset = FaceDataset(root, "train", faceless=False)
    dataset.images = dataset.images[: 2 * images]  # few, so that all are cached
    samples = TrainingSet(dataset, image_size=size, seed=0, cache=ImageCache(cache, dataset.images))
    loader = TrainingLoader(samples, batch_size=images)

    def batches():
        while True:
            yield from loader.batches(0)

    for index in range(len(samples)):
        samples[0, index]
    source = batches()

    def step():
        pixels, faces, _ = next(source)
        targets = [Targets.from_faces(item) for item in faces]
        train_step(training, Batch(images_B3HW=pixels, targets=targets, names=[""] * images), 1e-6)

    return step


def main(argv=None):
    options = arguments(
        __doc__,
        ("--architecture", {"default": "scrfd_0.5g", "help": "network to train (scrfd_0.5g)"}),
        ("--image-size", {"type": int, "default": 640}),
        ("--batch-size", {"type": int, "default": 8}),
        ("--recipe", {"default": "reference"}),
        ("--data", {"type": Path, "help": "data folder (default: drawn images of 1024 px)"}),
        ("--wall", {"action": "store_true", "help": "wall time, on an otherwise idle machine"}),
    ).parse_args(argv)
    set_threads(options.threads)
    from search_spaces.zoo import resolve_architecture
    from trials.data.generated.generate import generate
    from trials.recipe import load_recipe

    images, size = (2, 64) if options.quick else (options.batch_size, options.image_size)
    options.batch_size, options.image_size, options.device = images, size, "cpu"
    architecture, recipe = resolve_architecture(options.architecture), load_recipe(options.recipe)
    resident, alone, training = make_steps(architecture, "fp32", options, recipe=recipe)
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
