"""Networks and training steps of `gpu.py` and `training_step.py`."""

import time

FAMILY = {
    "scrfd_0.5g": ("depthwise", (16, 16), (2, 3, 2, 6), (40, 72, 152, 288), 16, (2, 64, True, 16)),
    "scrfd_2.5g": ("basic", (24,), (3, 5, 3, 2), (24, 48, 48, 80), 24, (2, 64, False, 16)),
    "scrfd_10g": ("basic", (56,), (3, 4, 2, 3), (56, 88, 88, 224), 56, (3, 80, False, 16)),
    "scrfd_34g": (
        "bottleneck",
        (56,),
        (17, 16, 2, 8),
        (56, 56, 144, 184),
        128,
        (2, 256, False, 32),
    ),
}  # copies of search_spaces/zoo, whose files need PyYAML


def family_member(name):
    """Return an architecture of the family without reading YAML."""
    from search_spaces.architecture import Architecture, Backbone, Head, Neck

    block, stem, depths, widths, neck, (convs, width, separable, groups) = FAMILY[name]
    return Architecture(
        name=name,
        backbone=Backbone(block=block, stem_widths=stem, depths=depths, widths=widths),
        neck=Neck(width=neck),
        head=Head(convs=convs, width=width, depthwise=separable, groups=groups),
    )


def architecture_of(reference):
    """Return a member of the family by name, or the content of a YAML file (needs PyYAML)."""
    if reference in FAMILY:
        return family_member(reference)
    try:
        import yaml  # noqa: F401
    except ImportError:
        names = ", ".join(FAMILY)
        raise SystemExit(
            f"{reference}: reading an architecture file needs PyYAML, which is not installed; "
            f"without it the networks are {names}"
        ) from None
    from search_spaces.zoo import resolve_architecture

    return resolve_architecture(reference)


def make_steps(architecture, precision, options, channels_last=True, recipe=None):
    """Return a training step, the forward and backward pass alone, and the training."""
    import torch

    from trials.device import resolve_precision
    from trials.recipe import Recipe
    from trials.training.epoch import train_step
    from trials.training.state import start_training

    where = torch.device(options.device)
    torch.backends.cudnn.allow_tf32 = precision != "fp32"
    named = resolve_precision("fp32" if precision == "tf32" else precision, where)
    training = start_training(
        architecture, recipe or Recipe(), seed=0, device=where, precision=named
    )
    layout = torch.channels_last if channels_last else torch.contiguous_format
    training.model.to(memory_format=layout)
    resident = resident_batch(options.batch_size, options.image_size, where)
    pixels = resident.images_B3HW.contiguous(memory_format=layout)
    dtype = training.precision.dtype

    def alone():
        training.model.zero_grad(set_to_none=True)
        with torch.autocast(where.type, dtype=dtype, enabled=dtype is not None):
            outputs = training.model(pixels)
        levels = (*outputs.scores, *outputs.boxes)
        torch.stack([level.float().sum() for level in levels]).sum().backward()

    return (lambda: train_step(training, resident, 1e-6)), alone, training


def resident_batch(images, size, where):
    """Return random images with 20 random faces each, on the device."""
    import torch

    from trials.training.epoch import Batch
    from trials.training.targets import Targets

    generator = torch.Generator().manual_seed(0)
    pixels = torch.randn(images, 3, size, size, generator=generator)
    corners = max(size - 100, 1) * torch.rand(images, 20, 2, generator=generator)
    sides = 8 + 80 * torch.rand(corners.shape, generator=generator)
    boxes = torch.cat([corners, corners + sides], dim=2).to(where)
    return Batch(
        images_B3HW=pixels.to(where, memory_format=torch.channels_last),
        targets=[Targets(boxes_G4=box, keypoints_G53=None) for box in boxes],
        names=[""] * images,
    )


def finish_work(device):
    """Wait for the device."""
    import torch

    from trials.device import synchronize

    synchronize(torch.device(device))


def rate(step, options):
    """Return images per second of `step` over at least `options.seconds`, after a warm-up."""
    warm_up(step, options)
    steps, started = 0, time.perf_counter()
    while True:
        for _ in range(4):
            step()
        finish_work(options.device)
        steps += 4
        passed = time.perf_counter() - started
        if passed >= options.seconds:
            return steps * options.batch_size / passed


def warm_up(step, options):
    """Run the steps of the warm-up."""
    for _ in range(options.warm_up):
        step()
    finish_work(options.device)
