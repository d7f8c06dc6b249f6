"""Training throughput on a GPU, in one command; needs torch and torchvision only.

    python benchmarks/gpu.py                    everything but the search, half an hour
    python benchmarks/gpu.py --data DATA        and with images of a data folder, not drawn ones
    python benchmarks/gpu.py --search DATA      and a real search: 16 candidates, 80 epochs, 0.5G
    python benchmarks/gpu.py --only together --trials 1 2 4 8        one of the parts alone

The parts (`--only`), each row of which is in `--out` as soon as it is measured:

- `step`: images a second of our training step (assignment, losses, optimiser) at 640 px on a
  resident batch, and its share of the limit, which is the same network's forward and backward
  pass alone. fp32 is exact; tf32 is what torch takes for it unless told otherwise.
- `layout`: the network alone in channels-last memory, which is ours, and in torch's default.
- `compile`: our step under `torch.compile`, what the compilation costs, and after how many
  steps it has paid for itself (80 epochs of WIDER FACE in batches of 8 are 128,800).
- `together`: several trials as many processes, whose images are added up; without and with
  NVIDIA's MPS, which lets their kernels run at the same time.
- `input`: a whole step with its samples from JPEG files, augmented on the CPU or on the GPU.

What fails becomes a row with the error, and the rest is measured.
"""

import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from _common import arguments
from _gpu_steps import FAMILY, architecture_of, finish_work, make_steps, rate
from _gpu_together import measure_together, mps

WIDER_STEPS = 80 * 12_880 // 8
PARTS = ("step", "layout", "compile", "together", "input")


class Rows:
    """Measured rows, on disk at once."""

    def __init__(self, path, machine):
        self.path, self.content = path, {"machine": machine, "rows": []}

    def measure(self, part, name, function, *arguments, **labels):
        """Run one measurement, print and keep what it returns, or its error."""
        try:
            values = function(*arguments)
        except (Exception, SystemExit) as error:  # out of memory, no compiler, no MPS, ...
            lines = str(error).strip().splitlines() or [""]
            values = {"error": f"{type(error).__name__}: {lines[0][:200]}"}
        self.content["rows"].append({"part": part, "network": name, **labels, **values})
        self.path.write_text(json.dumps(self.content, indent=1) + "\n", encoding="utf-8")
        text = ", ".join(f"{key} {_shown(value)}" for key, value in (labels | values).items())
        print(f"{part:<9} {name:<11} {text}", flush=True)


def _shown(value):
    return f"{value:,.4g}" if isinstance(value, float) else str(value)


def measure_step(name, precision, options):
    """Our step and its share of the network alone."""
    import torch

    on_gpu = options.device.startswith("cuda")
    if on_gpu:
        torch.cuda.reset_peak_memory_stats()
    step, alone, _ = make_steps(architecture_of(name), precision, options)
    ours, limit = (rate(run, options) for run in (step, alone))
    memory = torch.cuda.max_memory_allocated() / 2**30 if on_gpu else 0.0
    return {
        "images_per_second": ours, "network_alone": limit, "share": ours / limit,
        "memory_gib": memory,
    }  # fmt: skip


def measure_layout(name, precision, options):
    """The network alone, in both orders of memory."""
    rates = []
    for last in (True, False):
        _, alone, _ = make_steps(architecture_of(name), precision, options, channels_last=last)
        rates.append(rate(alone, options))
    return {"channels_last": rates[0], "contiguous": rates[1], "times": rates[0] / rates[1]}


def measure_compile(name, precision, options):
    """Our step as it is and compiled; seconds until the first compiled step is done."""
    step, _, training = make_steps(architecture_of(name), precision, options)
    plain = rate(step, options)
    started = time.perf_counter()
    training.model.compile()
    step()
    finish_work(options.device)
    seconds = time.perf_counter() - started
    compiled = rate(step, options)
    gained = options.batch_size * (1 / plain - 1 / compiled)  # seconds a step
    pays_after = round(seconds / gained) if gained > 0 else None
    return {
        "plain": plain, "compiled": compiled, "times": compiled / plain, "compile_s": seconds,
        "pays_after_steps": pays_after, "wider_steps": WIDER_STEPS,
    }  # fmt: skip


def measure_input(name, precision, where, root, options):
    """Images a second of training steps that prepare their own samples (second epoch)."""
    import torch

    from trials.device import resolve_precision
    from trials.recipe import Recipe
    from trials.settings import TrialSettings
    from trials.training.batches import TrainingBatches
    from trials.training.epoch import train_step
    from trials.training.state import start_training
    from trials.trial import Trial

    device = torch.device(options.device)
    recipe = Recipe(batch_size=options.batch_size)
    settings = TrialSettings(image_size=options.image_size, device=options.device, augment_on=where)
    precision = resolve_precision("fp32" if precision == "tf32" else precision, device)
    architecture = architecture_of(name)
    training = start_training(architecture, recipe, seed=0, device=device, precision=precision)
    trial = Trial(architecture=architecture, recipe=recipe, data_root=root, settings=settings)
    batches = TrainingBatches(trial, device)
    for epoch in (1, 2):
        started, images = time.perf_counter(), 0
        for batch in batches.of_epoch(epoch):
            train_step(training, batch, 1e-6)
            images += len(batch.images_B3HW)
        finish_work(options.device)
        seconds = time.perf_counter() - started
    return {"images_per_second": images / seconds, "cores": len(os.sched_getaffinity(0))}


def measure_search(data, trials_a_gpu):
    """Wall time of a real search of 16 candidates."""
    with tempfile.TemporaryDirectory() as scratch:
        command = [
            sys.executable, "-m", "nas.cli.main", "stage1", "--flops", "0.5G", "--data", str(data),
            "--num-candidates", "16", "--epochs", "80", "--search-dir", f"{scratch}/search",
            "--gpus-per-trial", str(1 / trials_a_gpu),
        ]  # fmt: skip
        started = time.perf_counter()
        # The names of the packages are asked of the process that has them.
        subprocess.run(command, check=True, cwd=Path(__file__).resolve().parents[1])
        return {"minutes": (time.perf_counter() - started) / 60}


def machine_of(device):
    """What the figures were measured on."""
    import torch

    gpu = torch.cuda.get_device_name() if device.startswith("cuda") else None
    return {
        "gpu": gpu, "cpu": platform.processor() or platform.machine(),
        "cores": len(os.sched_getaffinity(0)), "torch": torch.__version__,
        "cuda": torch.version.cuda, "date": time.strftime("%Y-%m-%d"),
        "command": " ".join(sys.argv),
    }  # fmt: skip


def parsed(argv):
    """The options, smaller ones for `--quick`."""
    parser = arguments(
        __doc__,
        ("--networks", {"nargs": "+", "default": list(FAMILY), "help": "names or YAML files"}),
        ("--precisions", {"nargs": "+", "default": ["fp32", "tf32", "bf16"]}),
        ("--trials", {"nargs": "+", "type": int, "default": [1, 2, 4, 8]}),
        ("--only", {"nargs": "+", "choices": PARTS, "default": list(PARTS)}),
        ("--batch-size", {"type": int, "default": 8}),
        ("--image-size", {"type": int, "default": 640}),
        ("--seconds", {"type": float, "default": 5.0, "help": "of each measurement (5)"}),
        ("--device", {"default": "cuda"}),
        ("--data", {"type": Path, "help": "data folder for `input`; else images are drawn"}),
        ("--search", {"type": Path, "help": "data folder for a real search"}),
        ("--search-trials-per-gpu", {"type": int, "default": 4, "help": "of --search (4)"}),
        ("--out", {"type": Path, "help": "JSON file of the rows (gpu.json)"}),
    )
    options = parser.parse_args(argv)
    options.warm_up = 20
    if options.quick:
        options.networks, options.precisions, options.trials = ["scrfd_0.5g"], ["fp32"], [1, 2]
        options.batch_size, options.image_size, options.seconds = 2, 64, 0.01
        options.warm_up = 1
        if options.only == list(PARTS):
            options.only = [part for part in PARTS if part != "compile"]  # takes minutes
    return options


def measure(options, rows, scratch):
    """All parts that were asked for."""
    best = options.precisions[-1]
    for name in options.networks:
        for precision in options.precisions if "step" in options.only else ():
            rows.measure("step", name, measure_step, name, precision, options, precision=precision)
        if "layout" in options.only:
            rows.measure("layout", name, measure_layout, name, best, options, precision=best)
        if "together" in options.only:
            measure_trials(name, best, options, rows)
    if "input" in options.only:
        root = options.data or drawn_data(scratch, options)
        for name in options.networks:
            for where in ("cpu", "device"):
                values = (name, best, where, root, options)
                rows.measure("input", name, measure_input, *values, augment_on=where)
    for name in options.networks if "compile" in options.only else ():  # last: may take long
        rows.measure("compile", name, measure_compile, name, best, options, precision=best)
    if options.search is not None:
        values = (options.search, options.search_trials_per_gpu)
        rows.measure("search", "0.5G", measure_search, *values, trials_a_gpu=values[1])


def measure_trials(name, precision, options, rows):
    """One to several trials at once, without and with MPS."""
    for shares in (False, True) if options.device.startswith("cuda") else (False,):
        for trials in options.trials:
            labels = {"precision": precision, "trials": trials, "mps": shares}
            values = (name, precision, options, trials, shares)
            rows.measure("together", name, together, *values, **labels)


def together(name, precision, options, trials, shares):
    """Images a second of all trials together."""
    with mps(shares):
        return {"images_per_second": measure_together(name, precision, options, trials)}


def drawn_data(scratch, options):
    """A data folder of drawn faces, JPEGs of 1024 px."""
    from trials.data.generated.generate import generate

    root, number = Path(scratch) / "data", 4 if options.quick else 256
    side = 96 if options.quick else 1024
    generate(root, num_train=number, num_val=1, long_side=(side, side))
    return root


def main(argv=None):
    options = parsed(argv)
    import torch

    if options.device.startswith("cuda") and not torch.cuda.is_available():
        raise SystemExit("torch finds no GPU here; --device cpu runs the same on the CPU")
    machine = machine_of(options.device)
    print(", ".join(f"{key} {value}" for key, value in machine.items()))
    with tempfile.TemporaryDirectory() as scratch:
        out = options.out or Path(scratch if options.quick else ".") / "gpu.json"
        measure(options, Rows(out, machine), scratch)
        print(f"{out}: all rows, of which `share` is that of the network's own limit")


if __name__ == "__main__":
    main()
