"""Training images per second and core, prepared from 1024-px JPEGs.

Decode, random crop, resize to 640, flip, distort, normalise. Ours: the samples of the training
set in batches of 8, decoded each time, and from the file cache that all trials of a machine
share (`--cache DIR`). With a GPU, the GPU crops, resizes and distorts, and the CPU only copies
pixels; the CPU's part is measured separately.

Baseline: the reference's pipeline, float32 steps of numpy and OpenCV, from the same seed.
"""

import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
from _common import arguments, medians, set_threads, show, verdict

SIZE, BATCH = 640, 8
WAYS = (
    "decoding each time",
    "from the file cache",
    "decoding, the rest on a GPU",
    "file cache, the rest on a GPU",
)


def plain_sample(path, faces, recipe, rng):
    """Return a sample by the reference's steps, each a pass over a float32 image."""
    import cv2

    from trials.augmentation.sample import draw_sample, sample_faces

    image = cv2.cvtColor(cv2.imread(str(path)), cv2.COLOR_BGR2RGB)
    sample = draw_sample(image.shape[:2], faces, SIZE, recipe, rng)
    crop = sample.crop
    canvas = np.full((crop.side, crop.side, 3), 128, np.uint8)
    left, top = max(0, crop.left), max(0, crop.top)
    part = image[top : max(0, crop.top + crop.side), left : max(0, crop.left + crop.side)]
    y, x = top - crop.top, left - crop.left
    canvas[y : y + part.shape[0], x : x + part.shape[1]] = part
    resized = cv2.resize(canvas, (SIZE, SIZE))
    if sample.flipped:
        resized = cv2.flip(resized, 1)
    pixels = plain_distort(resized.astype(np.float32), sample.distortion)
    kept = sample_faces(sample, faces, clip=recipe.clip_boxes)
    return (pixels - np.float32(127.5)) / np.float32(128), kept


def plain_distort(pixels, distortion):
    """Apply brightness, contrast, HSV and channel order, each in a separate pass."""
    import cv2

    pixels = pixels * np.float32(distortion.gain)
    pixels = pixels + np.float32(distortion.offset)
    if distortion.saturation != 1 or distortion.hue != 0:
        pixels = cv2.cvtColor(pixels, cv2.COLOR_RGB2HSV)
        pixels[..., 1] *= np.float32(distortion.saturation)
        pixels[..., 0] = (pixels[..., 0] + np.float32(60 * distortion.hue)) % 360
        pixels = cv2.cvtColor(pixels, cv2.COLOR_HSV2RGB)
    pixels = pixels * np.float32(distortion.late_gain)
    return pixels[..., list(distortion.order)]


def our_batch(samples, indices, epoch=0):
    """Return a batch for the network, computed on the CPU."""
    from trials.loading.loader import collate

    batch = collate([samples[epoch, index] for index in indices], on_device=False)
    return batch.finish("cpu"), batch.faces


def packed_batch(samples, indices, epoch=0):
    """Return the CPU's part of a batch if a GPU does the rest."""
    from trials.loading.loader import collate

    return collate([samples[epoch, index] for index in indices], on_device=True)


def training_sets(root, cache_folder):
    """Return training sets without a cache of decoded images, and with a file cache."""
    from trials.data.cache import ImageCache
    from trials.data.dataset import FaceDataset
    from trials.loading.training_set import TrainingSet

    dataset = FaceDataset(root, "train", faceless=False)
    cache = ImageCache(cache_folder, dataset.images)
    decoding = TrainingSet(dataset, image_size=SIZE, seed=0, cache_bytes=0)
    return decoding, TrainingSet(dataset, image_size=SIZE, seed=0, cache=cache)


def differences(plain, cached, images):
    """Return the differences in grey levels of three ways to the same samples.

    Returns:
        Largest and mean difference of the plain steps and ours on the CPU, and of ours on
        the CPU and on the device, here computed by the CPU too.
    """
    apart = []
    for index in range(images):
        (pixels, faces), (found, (kept,)) = plain(index), our_batch(cached, [index])
        packed = packed_batch(cached, [index])
        for ours in (kept, packed.faces[0]):
            assert np.array_equal(faces.boxes_N4, ours.boxes_N4)
        on_cpu, on_device = found[0].numpy(), packed.finish("cpu")[0].numpy()
        for one, other in ((pixels.transpose(2, 0, 1), on_cpu), (on_cpu, on_device)):
            gap = np.abs(one - other) * 128
            apart += [gap.max(), gap.mean()]
    table = np.array(apart).reshape(images, 4)
    return table[:, 0].max(), table[:, 1].mean(), table[:, 2].max(), table[:, 3].mean()


def show_parts(samples, number, rounds):
    """Print the seconds of each part of a sample that the CPU makes, on memory in use."""
    import cv2

    from trials.augmentation.colour import Distortion, distort
    from trials.augmentation.on_cpu import cut_square

    items = [samples[0, index] for index in range(number)]
    upright = [(replace(item.sample, flipped=False), item.image_HW3) for item in items]
    squares = [cut_square(*pair) for pair in upright]
    out = np.zeros((SIZE, SIZE, 3), np.float32)

    def coloured(**changes):
        distortion = Distortion(gain=0.9, offset=9.0, order=(2, 0, 1), **changes)
        return lambda: [distort(square, distortion, out) for square in squares]

    parts = {
        "drawing, faces, reading from the file cache": lambda: [
            samples[0, index] for index in range(number)
        ],
        "crop, grey border and resize": lambda: [cut_square(*pair) for pair in upright],
        "flip (half of the images)": lambda: [cv2.flip(square, 1) for square in squares],
        "colours without saturation and hue (a quarter)": coloured(),
        "colours with saturation (a quarter)": coloured(saturation=1.2),
        "colours with a hue (half)": coloured(saturation=1.2, hue=0.2),
    }
    for name, total in zip(parts, medians(list(parts.values()), rounds), strict=True):
        show(f"part: {name}", total / number)


def measure(root, scratch, number, rounds, goal):
    """Measure and print seconds per image and the ratios."""
    from trials.loading.training_set import SAMPLE_STREAM
    from trials.recipe import Recipe

    decoding, cached = training_sets(root, scratch)
    images, recipe = decoding.dataset.images, Recipe()
    number = min(number, len(images))

    def plain(index):
        rng = np.random.default_rng([0, 0, index, SAMPLE_STREAM])
        return plain_sample(images[index].path, images[index].faces, recipe, rng)

    def batched(prepare, samples):
        starts = range(0, number, BATCH)
        return lambda: [prepare(samples, range(i, min(i + BATCH, number))) for i in starts]

    print(
        "  equal crops and faces; largest and mean difference of the final pixels in grey levels:"
    )
    gaps = differences(plain, cached, number)
    for name, most, mean in (("plain", *gaps[:2]), ("on the device", *gaps[2:])):
        print(f"    ours and {name}: {most:.3g}, {mean:.2g}")
    runs = [
        lambda: [plain(index) for index in range(number)],
        *(batched(our_batch, samples) for samples in (decoding, cached)),
        *(batched(packed_batch, samples) for samples in (decoding, cached)),
    ]
    usual, *ours = [seconds / number for seconds in medians(runs, rounds)]
    show("baseline: float32 steps of numpy and OpenCV, per image", usual)
    for name, seconds in zip(WAYS, ours, strict=True):
        show(f"ours, {name}, per image", seconds)
        show("  images per second and core", 1 / seconds, "images/s")
    show_parts(cached, number, rounds)
    for name, seconds in zip(WAYS, ours, strict=True):
        verdict(f"training images per second, {name}", usual / seconds, goal)


def main(argv=None):
    options = arguments(
        __doc__,
        ("--data", {"type": Path, "help": "data folder with 1024-px images (default: drawn)"}),
        ("--cache", {"type": Path, "help": "folder of the file cache (default: temporary)"}),
        ("--images", {"type": int, "default": 60, "help": "images to use (60)"}),
    ).parse_args(argv)
    set_threads(options.threads)
    from trials.data.generated.generate import generate

    number = 2 if options.quick else options.images
    with tempfile.TemporaryDirectory() as scratch:
        root = options.data
        if root is None:
            root = Path(scratch) / "data"
            generate(root, num_train=number, num_val=1, long_side=(1024, 1024))
        cache = options.cache or Path(scratch) / "cache"
        goal = 8 if options.data else None  # drawn images decode faster than photographs
        measure(root, cache, number, 1 if options.quick else options.rounds, goal)


if __name__ == "__main__":
    main()
