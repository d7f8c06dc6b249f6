"""Variants of the training step on a CPU against the step as it is.

As it is: channels-last memory, oneDNN, a fused optimiser. Each variant changes one thing, and is
timed in turn with the step as it is, on a batch in memory. First the losses of `--steps` steps
from the same weights must agree, to `--tolerance`.

    python benchmarks/cpu_variants.py --networks scrfd_0.5g mobilenet_0.5g
    python benchmarks/cpu_variants.py --networks small.yaml --image-size 256
    python benchmarks/cpu_variants.py --only torch.compile      # minutes

Run it with OMP_NUM_THREADS=1, without which oneDNN's threads wait for each other on busy cores.
"""

from contextlib import contextmanager, nullcontext

from _common import WALL, arguments, medians, set_threads, show, verdict
from _gpu_steps import make_steps, resident_batch


def contiguous(training):
    """Use torch's default memory order."""
    import torch

    training.model.to(memory_format=torch.contiguous_format)
    training.model.register_forward_pre_hook(lambda module, given: (given[0].contiguous(),))


def unfused(training):
    """Step the optimiser parameter by parameter."""
    for group in training.optimizer.param_groups:
        group |= {"fused": False, "foreach": False}


def foreach(training):
    """Step the optimiser with operations on lists of parameters."""
    for group in training.optimizer.param_groups:
        group |= {"fused": False, "foreach": True}


def compiled(training):
    """Compile the network."""
    training.model.compile()


@contextmanager
def without_onednn():
    """Use torch's own convolutions."""
    import torch

    torch.backends.mkldnn.enabled = False
    try:
        yield
    finally:
        torch.backends.mkldnn.enabled = True


@contextmanager
def flushed_denormals():
    """Replace numbers too small for float32's normal range by 0."""
    import torch

    torch.set_flush_denormal(True)
    try:
        yield
    finally:
        torch.set_flush_denormal(False)


def nothing(training):
    """Change nothing."""


# Name: change of the training, and what surrounds its steps.
VARIANTS = {
    "contiguous memory": (contiguous, nullcontext),
    "optimiser by parameter": (unfused, nullcontext),
    "optimiser by lists": (foreach, nullcontext),
    "without oneDNN": (nothing, without_onednn),
    "denormal numbers flushed": (nothing, flushed_denormals),
    "torch.compile": (compiled, nullcontext),
}
QUICK = [name for name in VARIANTS if name != "torch.compile"]


def make_step(architecture, options, change, around):
    """Return a training step of a variant, which returns its losses."""
    import torch

    from trials.training.epoch import train_step

    _, _, training = make_steps(architecture, "fp32", options)
    change(training)
    batch = resident_batch(options.batch_size, options.image_size, torch.device("cpu"))

    def step():
        with around():
            return train_step(training, batch, options.rate)

    return step


def require_agreement(name, plain, other, options):
    """Exit unless the first losses of a variant equal those of the step as it is."""
    pairs = ((plain(), other()) for _ in range(options.steps))
    worst = max(float((one - two).abs().max() / one.sum()) for one, two in pairs)
    show(f"{name}: difference of the losses, {options.steps} steps", worst, "")
    if not worst <= options.tolerance:
        raise SystemExit(f"{name}: losses must agree to {options.tolerance:g}, got {worst:g}")


def compare(reference, options):
    """Print the ratio of each variant for one network."""
    from search_spaces.zoo import resolve_architecture

    architecture = resolve_architecture(reference)
    print(f"{reference}, {options.batch_size} images of {options.image_size} px")
    for name in options.only:
        plain = make_step(architecture, options, nothing, nullcontext)
        other = make_step(architecture, options, *VARIANTS[name])
        started = WALL()
        require_agreement(name, plain, other, options)
        prepared = WALL() - started
        base, ours = medians([plain, other], options.rounds)
        show("step as it is", base)
        show(name, ours)
        verdict(f"{reference}: {name}", base / ours)
        if name == "torch.compile":
            show("the compared steps, compilation included, wall", prepared)
            after = f"after {prepared / (base - ours):,.0f} steps" if base > ours else "never"
            print(f"compilation pays {after}")


def main(argv=None):
    options = arguments(
        __doc__,
        ("--networks", {"nargs": "+", "default": ["scrfd_0.5g", "mobilenet_0.5g"]}),
        ("--image-size", {"type": int, "default": 640}),
        ("--batch-size", {"type": int, "default": 8}),
        ("--steps", {"type": int, "default": 3, "help": "steps whose losses must agree (3)"}),
        ("--rate", {"type": float, "default": 1e-3, "help": "learning rate (0.001)"}),
        ("--tolerance", {"type": float, "default": 1e-3}),
        ("--only", {"nargs": "+", "choices": VARIANTS, "default": QUICK, "metavar": "VARIANT"}),
    ).parse_args(argv)
    set_threads(options.threads)
    options.device = "cpu"
    if options.quick:
        options.networks, options.batch_size, options.image_size = ["scrfd_0.5g"], 2, 64
        options.rounds = 1
    for reference in options.networks:
        compare(reference, options)


if __name__ == "__main__":
    main()
