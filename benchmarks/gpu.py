"""Training throughput on a GPU, in one command; needs torch and torchvision only.

    python benchmarks/gpu.py                    images/s of the family, one trial at a time
    python benchmarks/gpu.py --trials 1 2 4     and several trials that share the GPU
    python benchmarks/gpu.py --search DATA      and a real search: 16 candidates, 80 epochs, 0.5G

For each network and precision: images a second of our training step (assignment, losses,
optimiser) at 640 px on a resident batch, and its share of the network's limit, which is the
forward and backward pass alone. Several trials are as many processes; their throughput is
what all of them together train in the same seconds. Nothing of the input pipeline is in
these figures: `scrfd-nas profile ... --device cuda` has it, and `--search` times the whole.
"""

import json
import multiprocessing
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from _common import arguments

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
}  # as search_spaces/zoo has them, whose files need PyYAML


def family_member(name):
    """The architecture, without reading YAML."""
    from search_spaces.architecture import Architecture, Backbone, Head, Neck

    block, stem, depths, widths, neck, (convs, width, separable, groups) = FAMILY[name]
    return Architecture(
        name=name,
        backbone=Backbone(block=block, stem_widths=stem, depths=depths, widths=widths),
        neck=Neck(width=neck),
        head=Head(convs=convs, width=width, depthwise=separable, groups=groups),
    )


def architecture_of(reference):
    """A member of the family by name, or a YAML file, for which PyYAML must be there."""
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


def make_steps(architecture, precision, batch, size, device):
    """Our training step, and the network's forward and backward alone; both on `device`."""
    import torch

    from trials.device import resolve_precision
    from trials.recipe import Recipe
    from trials.targets import Targets
    from trials.training import Batch, start_training, train_step

    where = torch.device(device)
    training = start_training(
        architecture, Recipe(), seed=0, device=where, precision=resolve_precision(precision, where)
    )
    generator = torch.Generator().manual_seed(0)
    pixels = torch.randn(batch, 3, size, size, generator=generator)
    pixels = pixels.to(where, memory_format=torch.channels_last)
    corners = (size - 100) * torch.rand(batch, 20, 2, generator=generator)
    boxes = torch.cat(
        [corners, corners + 8 + 80 * torch.rand(corners.shape, generator=generator)], 2
    )
    targets = [Targets(boxes_G4=box) for box in boxes.to(where)]
    resident = Batch(images_B3HW=pixels, targets=targets, names=[""] * batch)
    dtype = training.precision.dtype

    def alone():
        training.model.zero_grad(set_to_none=True)
        with torch.autocast(where.type, dtype=dtype, enabled=dtype is not None):
            outputs = training.model(pixels)
        levels = (*outputs.scores, *outputs.boxes)
        torch.stack([level.float().sum() for level in levels]).sum().backward()

    return (lambda: train_step(training, resident, 1e-6)), alone


def finish_work(device):
    import torch

    if device.startswith("cuda"):
        torch.cuda.synchronize()


def rate(step, batch, device, duration):
    """Images a second of `step`, over at least `duration` seconds."""
    steps, started = 0, time.perf_counter()
    while True:
        for _ in range(4):
            step()
        finish_work(device)
        steps += 4
        passed = time.perf_counter() - started
        if passed >= duration:
            return steps * batch / passed


def measure_alone(name, precision, options):
    """(images/s of our step, of the network alone, peak memory in GiB)."""
    import torch

    step, alone = make_steps(
        architecture_of(name), precision, options.batch_size, options.image_size, options.device
    )
    rates = []
    for run in (step, alone):
        for _ in range(options.warm_up):
            run()
        finish_work(options.device)
        rates.append(rate(run, options.batch_size, options.device, options.seconds))
    on_gpu = options.device.startswith("cuda")
    memory = torch.cuda.max_memory_allocated() / 2**30 if on_gpu else 0.0
    return (*rates, memory)


def _worker(name, precision, options, barrier, results):
    """One of several trials: warm up, wait for the others, train."""
    step, _ = make_steps(
        architecture_of(name), precision, options.batch_size, options.image_size, options.device
    )
    for _ in range(options.warm_up):
        step()
    finish_work(options.device)
    barrier.wait(timeout=600)
    results.put(rate(step, options.batch_size, options.device, options.seconds))


def measure_together(name, precision, options, trials):
    """Images a second of `trials` processes that train at the same time."""
    context = multiprocessing.get_context("spawn")
    barrier, results = context.Barrier(trials), context.Queue()
    values = (name, precision, options, barrier, results)
    processes = [context.Process(target=_worker, args=values) for _ in range(trials)]
    for process in processes:
        process.start()
    rates = []
    while len(rates) < trials:
        try:
            rates.append(results.get(timeout=5))
        except Exception as error:  # queue.Empty, by whatever name the context has it
            failed = [process for process in processes if process.exitcode not in (None, 0)]
            if failed:
                for process in processes:
                    process.terminate()
                raise SystemExit(f"{trials} trials: a process ended with an error") from error
    for process in processes:
        process.join()
    return sum(rates)


def search(data, trials_a_gpu):
    """Seconds of a real search of 16 candidates."""
    try:
        import fvcore  # noqa: F401
        import optuna  # noqa: F401
        import ray  # noqa: F401
    except ImportError as error:
        raise SystemExit(f"--search needs the whole project installed: {error}") from error
    with tempfile.TemporaryDirectory() as scratch:
        command = [
            sys.executable, "-m", "nas.cli.main", "stage1", "--flops", "0.5G", "--data", str(data),
            "--num-candidates", "16", "--epochs", "80", "--search-dir", f"{scratch}/search",
            "--gpus-per-trial", str(1 / trials_a_gpu),
        ]  # fmt: skip
        started = time.perf_counter()
        subprocess.run(command, check=True, cwd=Path(__file__).resolve().parents[1])
        return time.perf_counter() - started


def main(argv=None):
    parser = arguments(
        __doc__,
        ("--networks", {"nargs": "+", "default": list(FAMILY), "help": "names or YAML files"}),
        ("--precisions", {"nargs": "+", "default": ["fp32", "bf16"]}),
        ("--trials", {"nargs": "+", "type": int, "default": [1, 2, 4]}),
        ("--batch-size", {"type": int, "default": 8}),
        ("--image-size", {"type": int, "default": 640}),
        ("--seconds", {"type": float, "default": 5.0, "help": "of each measurement"}),
        ("--device", {"default": "cuda"}),
        ("--search", {"type": Path, "help": "data folder for a real search"}),
        ("--json", {"action": "store_true"}),
    )
    options = parser.parse_args(argv)
    options.warm_up = 20
    if options.quick:
        options.networks, options.precisions, options.trials = ["scrfd_0.5g"], ["fp32"], [1]
        options.batch_size, options.image_size, options.seconds = 2, 64, 0.01
        options.warm_up = 1
    import torch

    if options.device.startswith("cuda") and not torch.cuda.is_available():
        raise SystemExit("torch finds no GPU here; --device cpu runs the same on the CPU")
    device = torch.cuda.get_device_name() if options.device.startswith("cuda") else "cpu"
    print(f"{device}, torch {torch.__version__}, {options.batch_size} x {options.image_size} px")
    rows = []
    for name in options.networks:
        for precision in options.precisions:
            if options.device.startswith("cuda"):
                torch.cuda.reset_peak_memory_stats()
            ours, limit, memory = measure_alone(name, precision, options)
            together = {
                trials: measure_together(name, precision, options, trials)
                for trials in options.trials
                if trials > 1
            }
            rows.append(
                {"network": name, "precision": precision, "images_per_second": ours,
                 "network_alone": limit, "share": ours / limit, "memory_gib": memory,
                 "together": together}
            )  # fmt: skip
            shared = "".join(
                f"; {n} trials {r:,.0f} ({r / limit:.2f})" for n, r in together.items()
            )
            print(
                f"{name:<12} {precision}: {ours:9,.1f} images/s, alone {limit:9,.1f}, "
                f"share {ours / limit:.2f}, {memory:.1f} GiB{shared}"
            )
    if options.json:
        print(json.dumps({"device": device, "rows": rows}))
    if options.search is not None:
        seconds = search(options.search, max(options.trials))
        print(f"search of 16 candidates, 80 epochs, 0.5G: {seconds / 60:.1f} minutes")


if __name__ == "__main__":
    main()
