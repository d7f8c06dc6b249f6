"""Checks that a GPU computes what the CPU computes, before `gpu.py` measures its speed."""

from argparse import Namespace

import numpy as np
from _gpu_steps import architecture_of, make_steps

CROP_SIZE = 640
LARGEST = {"crops": 1.0, "loss": 1e-4, "ap": 1e-4}


def disagreements(options):
    """Yield (name, largest difference between GPU and CPU) of each check.

    `crops` are in grey levels, `loss` is relative, `ap` is absolute.
    """
    yield "crops", crop_difference(options)
    for name in options.networks:
        yield f"loss {name}", loss_difference(name, options)
    if options.model is not None:
        yield "ap", ap_difference(options)


def check_agreement(options):
    """Print the differences. Raises SystemExit if one is too large."""
    for name, difference in disagreements(options):
        limit = LARGEST[name.partition(" ")[0]]
        print(f"agrees    {name:<16} {difference:.3g} (at most {limit:g})", flush=True)
        if not difference <= limit:
            rule = "GPU and CPU must agree before anything is timed"
            raise SystemExit(f"{rule}, got a difference of {difference:.3g} in {name}")


def crop_difference(options):
    """Return the largest difference of crops from the CPU's, which OpenCV resizes."""
    from trials.augmentation.on_cpu import bounded, cut_square
    from trials.augmentation.on_device import PackedImages, cut_squares, pack
    from trials.augmentation.sample import draw_sample
    from trials.data.labels import Faces
    from trials.recipe import Recipe

    rng, largest = np.random.default_rng(0), 0.0
    for _ in range(4 if options.quick else 32):
        image = rng.integers(0, 256, (*rng.integers(200, 900, 2), 3), np.uint8)
        faces = Faces.of_boxes(np.array([[90.0, 80.0, 160.0, 170.0]]))
        sample = draw_sample(image.shape[:2], faces, CROP_SIZE, Recipe(), rng)
        near, part = bounded(sample, image)
        pixels_P3, sizes = pack([part])
        there = PackedImages(pixels_P3.to(options.device), sizes)
        found = cut_squares([near], there)[0].cpu().numpy()
        largest = max(largest, float(np.abs(found - cut_square(sample, image)).max()))
    return largest


def loss_difference(name, options):
    """Return the largest relative difference of the losses of three exact steps."""
    losses = []
    for device in (options.device, "cpu"):
        here = Namespace(**{**vars(options), "device": device, "batch_size": 2})
        step, _, _ = make_steps(architecture_of(name), "fp32", here)
        losses.append(np.array([step().cpu().numpy() for _ in range(3)]))
    there, here = losses
    return float(np.abs(there - here).max() / here.max())


def ap_difference(options):
    """Return the largest difference of the three APs of a trained model."""
    from trials.evaluation.detector_ap import EvaluationRequest, evaluate_model

    found = []
    for device in (options.device, "cpu"):
        request = EvaluationRequest(model=options.model, data=options.data, device=device)
        found.append(evaluate_model(request).aps.as_dict())
    return max(abs(found[0][name] - found[1][name]) for name in found[0])
