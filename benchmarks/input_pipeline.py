"""How many training images does a core prepare from 1024-px JPEGs?

Decode, random crop, resize to 640, flip, distort, normalise. Ours: the training set's own
samples, distorted as a batch of one; decoded each time, and from the file cache that all
trials of a machine share (`--cache`).

Baseline: the reference's pipeline, float32 steps of numpy and OpenCV. OpenCV is not among
this project's packages, so its time is taken from a figure measured outside: 2.82 times
Pillow's decoding of the same images (13.5 ms against 4.8 ms in one process, 40 images of
widerface_mini; the issue's own figures are 13.7 to 14.0 ms). The decoding is measured here,
which brings in this machine's speed and load.

The same steps in numpy alone are run too, but only to see that both make the same pixels
from the same seed. Their time is no baseline: numpy's HSV conversion takes ten times
OpenCV's, and a ratio against it would flatter us.
"""

import tempfile
from pathlib import Path

import numpy as np
from _common import arguments, medians, set_threads, show, verdict

SIZE = 640
BASELINE_IN_DECODES = 2.82  # see above


def plain_sample(path, faces, augmentation, rng):
    """The reference's steps, each a pass over a float32 image."""
    from trials.data.augment import box_centers, crop_faces, draw_crop, flip_faces
    from trials.data.dataset import trainable
    from trials.data.distortion import draw_distortion
    from trials.data.images import read_image, resize_fast

    image = read_image(path)
    counted = faces.select(trainable(faces))
    crop = draw_crop(*image.shape[:2], box_centers(counted.boxes_N4), augmentation, rng)
    canvas = np.full((crop.side, crop.side, 3), 128, np.uint8)
    left, top = max(0, crop.left), max(0, crop.top)
    part = image[top : max(0, crop.top + crop.side), left : max(0, crop.left + crop.side)]
    y, x = top - crop.top, left - crop.left
    canvas[y : y + part.shape[0], x : x + part.shape[1]] = part
    resized = resize_fast(canvas, (SIZE, SIZE)).permute(1, 2, 0).numpy()
    kept = crop_faces(counted, crop, SIZE, clip=True)
    if rng.random() < augmentation.flip:
        resized, kept = np.ascontiguousarray(resized[:, ::-1]), flip_faces(kept, SIZE)
    pixels = plain_distort(resized.astype(np.float32), draw_distortion(rng))
    return (pixels - np.float32(127.5)) / np.float32(128), kept


def plain_distort(pixels, distortion):
    """Brightness, contrast, HSV and channel order, each a pass of its own."""
    pixels = pixels * np.float32(distortion.gain)
    pixels = pixels + np.float32(distortion.offset)
    if distortion.saturation != 1 or distortion.hue != 0:
        hue, saturation, value = to_hsv(pixels)
        saturation = saturation * np.float32(distortion.saturation)
        hue = (hue + np.float32(distortion.hue)) % np.float32(6)
        pixels = from_hsv(hue, saturation, value)
    pixels = pixels * np.float32(distortion.late_gain)
    return pixels[..., list(distortion.order)]


def to_hsv(pixels):
    """Hue in sixths of the circle, saturation, value."""
    value, range_ = pixels.max(axis=2), np.ptp(pixels, axis=2)
    red, green, blue = pixels[..., 0], pixels[..., 1], pixels[..., 2]
    safe = np.where(range_ == 0, np.float32(1), range_)
    hue = np.where(
        value == red,
        (green - blue) / safe,
        np.where(value == green, 2 + (blue - red) / safe, 4 + (red - green) / safe),
    )
    saturation = np.where(value == 0, np.float32(0), range_ / np.where(value == 0, 1, value))
    return hue % 6, saturation, value


def from_hsv(hue, saturation, value):
    """Red, green and blue (H, W, 3)."""
    sector = np.floor(hue)
    part = hue - sector
    low = value * (1 - saturation)
    falling = value * (1 - saturation * part)
    rising = value * (1 - saturation * (1 - part))
    index = sector.astype(np.int32) % 6
    red = np.choose(index, [value, falling, low, low, rising, value])
    green = np.choose(index, [rising, value, value, falling, low, low])
    blue = np.choose(index, [low, low, rising, value, value, falling])
    return np.stack([red, green, blue], axis=2)


def our_sample(samples, index, epoch=0):
    """A sample of the training set as the network gets it."""
    from trials.data.loader import collate, finish

    sample = samples.sample(index, epoch)
    return finish(collate([sample]))[0], sample.faces


def training_sets(root, cache_folder):
    """Without any cache of decoded images, and with files of them."""
    from trials.data.cache import ImageCache
    from trials.data.dataset import FaceDataset, TrainingSet

    dataset = FaceDataset(root, "train", faceless=False)
    cache = ImageCache(cache_folder, dataset.images)
    decoding = TrainingSet(dataset, image_size=SIZE, seed=0, cache_bytes=0)
    return decoding, TrainingSet(dataset, image_size=SIZE, seed=0, cache=cache)


def difference(plain, ours):
    """Largest and mean difference of two samples in grey levels."""
    apart = np.abs(plain.transpose(2, 0, 1) - ours.numpy()) * 128
    return float(apart.max()), float(apart.mean())


def measure(root, scratch, number, rounds, goal):
    """Print seconds an image and the two ratios."""
    from trials.data.augment import Augmentation
    from trials.data.dataset import SAMPLE_STREAM
    from trials.data.images import read_image

    decoding, cached = training_sets(root, scratch)
    images, augmentation = decoding.dataset.images, Augmentation()
    number = min(number, len(images))

    def plain(index):
        rng = np.random.default_rng([0, 0, index, SAMPLE_STREAM])
        return plain_sample(images[index].path, images[index].faces, augmentation, rng)

    apart = []
    for index in range(number):
        (pixels, faces), (found, kept) = plain(index), our_sample(cached, index)
        assert np.array_equal(faces.boxes_N4, kept.boxes_N4)
        apart.append(difference(pixels, found))
    worst, mean = np.max(apart, axis=0)[0], np.mean(apart, axis=0)[1]
    print("  same crops and faces; grey levels apart at most and on average:", end=" ")
    print(f"{worst:.3g}, {mean:.2g}")
    runs = [
        lambda: [plain(index) for index in range(number)],
        lambda: [read_image(images[index].path) for index in range(number)],
    ]
    for samples in (decoding, cached):
        runs.append(lambda samples=samples: [our_sample(samples, i) for i in range(number)])
    numpy_only, decoded, uncached, from_files = (t / number for t in medians(runs, rounds))
    usual = BASELINE_IN_DECODES * decoded
    show("numpy alone, not a baseline, an image", numpy_only)
    show("Pillow's decoding, an image", decoded)
    show("baseline: numpy and OpenCV, 2.82 decodings, an image", usual)
    show("ours, decoding each time, an image", uncached)
    show("ours, from the file cache, an image", from_files)
    show("ours, images a second and core, from the file cache", 1 / from_files, "images/s")
    verdict("training images a second, decoding each time", usual / uncached, goal)
    verdict("training images a second, from the cache", usual / from_files, goal)


def main(argv=None):
    options = arguments(
        __doc__,
        ("--data", {"type": Path, "help": "data folder with 1024-px images; else one is drawn"}),
        ("--cache", {"type": Path, "help": "folder of the file cache; else a temporary one"}),
        ("--images", {"type": int, "default": 60, "help": "images to use (60)"}),
    ).parse_args(argv)
    set_threads(options.threads)
    from trials.data.generate import generate

    number = 2 if options.quick else options.images
    with tempfile.TemporaryDirectory() as scratch:
        root = options.data
        if root is None:
            root = Path(scratch) / "data"
            generate(root, num_train=number, num_val=1, long_side=(1024, 1024))
        cache = options.cache or Path(scratch) / "cache"
        goal = 8 if options.data else None  # drawn images do not decode as photographs do
        measure(root, cache, number, 1 if options.quick else options.rounds, goal)


if __name__ == "__main__":
    main()
