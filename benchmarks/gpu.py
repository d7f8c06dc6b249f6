"""Training throughput on a GPU, in one command; needs only what a trial needs.

    python benchmarks/gpu.py                    all parts except the search, half an hour
    python benchmarks/gpu.py --model scrfd_2.5g.pt --data DATA     also compares APs
    python benchmarks/gpu.py --data DATA        with images of a data folder, not drawn ones
    python benchmarks/gpu.py --search DATA      also a real search: 16 candidates, 80 epochs, 0.5G
    python benchmarks/gpu.py --only together --trials 1 2 4 8        one part

First it checks that GPU and CPU agree: crops to a grey level, the losses of exact steps to 1e-4,
and the three APs of a model file (`--model`, from `scrfd-nas convert`) on the validation images of
`--data` to 1e-4. If they do not, nothing is timed.

The parts (`--only`); each row is written to `--out` immediately:

- `step`: images per second of our training step (assignment, losses, optimiser) at 640 px on a
  batch in memory, and its share of the limit, which is the forward and backward pass of the
  same network. fp32 is exact; tf32 is torch's default for cuDNN convolutions.
- `layout`: the network alone in channels-last memory (ours) and in torch's default.
- `compile`: our step with `torch.compile`, the time of the compilation, and the number of steps
  after which it pays (80 epochs of WIDER FACE in batches of 8 are 128,800).
- `together`: images per second of several trials as concurrent processes, without and with
  NVIDIA's MPS, which lets their kernels run concurrently.
- `input`: a whole step with samples from JPEG files, augmented on the CPU or on the GPU.

A failure becomes a row with the error, and the other parts are measured. The end is a table for
benchmarks/README.md.
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
from _gpu_agreement import check_agreement
from _gpu_steps import FAMILY, architecture_of, finish_work, make_steps, rate
from _gpu_together import measure_together, mps

WIDER_STEPS = 80 * 12_880 // 8
PARTS = ("step", "layout", "compile", "together", "input")


class Rows:
    """Measured rows, written to disk immediately."""

    def __init__(self, path, machine):
        self.path, self.content = path, {"machine": machine, "rows": []}

    def measure(self, part, name, function, *arguments, **labels):
        """Run one measurement; print and store its values or its error."""
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
    """Measure our step and its share of the network alone."""
    import torch

    memory = torch.get_device_module(options.device) if options.on_gpu else None
    if memory:
        memory.reset_peak_memory_stats()
    step, alone, _ = make_steps(architecture_of(name), precision, options)
    ours, limit = (rate(run, options) for run in (step, alone))
    return {
        "images_per_second": ours, "network_alone": limit, "share": ours / limit,
        "memory_gib": memory.max_memory_allocated() / 2**30 if memory else 0.0,
    }  # fmt: skip


def measure_layout(name, precision, options):
    """Measure the network alone, in both memory formats."""
    rates = []
    for last in (True, False):
        _, alone, _ = make_steps(architecture_of(name), precision, options, channels_last=last)
        rates.append(rate(alone, options))
    return {"channels_last": rates[0], "contiguous": rates[1], "times": rates[0] / rates[1]}


def measure_compile(name, precision, options):
    """Measure our step with and without compilation, and the seconds to the first compiled step."""
    step, _, training = make_steps(architecture_of(name), precision, options)
    plain = rate(step, options)
    started = time.perf_counter()
    training.model.compile()
    step()
    finish_work(options.device)
    seconds = time.perf_counter() - started
    compiled = rate(step, options)
    gained = options.batch_size * (1 / plain - 1 / compiled)  # seconds per step
    pays_after = round(seconds / gained) if gained > 0 else None
    return {
        "plain": plain, "compiled": compiled, "times": compiled / plain, "compile_s": seconds,
        "pays_after_steps": pays_after, "wider_steps": WIDER_STEPS,
    }  # fmt: skip


def measure_input(name, precision, where, root, options):
    """Measure training steps that prepare their own samples (second epoch)."""
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
    """Measure the wall time of a real search of 16 candidates."""
    with tempfile.TemporaryDirectory() as scratch:
        command = [
            sys.executable, "-m", "nas.cli.main", "stage1", "--flops", "0.5G", "--data", str(data),
            "--num-candidates", "16", "--epochs", "80", "--search-dir", f"{scratch}/search",
            "--gpus-per-trial", str(1 / trials_a_gpu),
        ]  # fmt: skip
        started = time.perf_counter()
        subprocess.run(command, check=True, cwd=Path(__file__).resolve().parents[1])
        return {"minutes": (time.perf_counter() - started) / 60}


def machine_of(device):
    """Return a description of the machine."""
    import torch

    from trials.device import device_name

    return {
        "device": device_name(torch.device(device)),
        "cpu": platform.processor() or platform.machine(),
        "cores": len(os.sched_getaffinity(0)), "torch": torch.__version__,
        "cuda": torch.version.cuda, "date": time.strftime("%Y-%m-%d"),
        "command": " ".join(sys.argv),
    }  # fmt: skip


def parsed(argv):
    """Return the options, smaller ones for `--quick`."""
    parser = arguments(
        __doc__,
        ("--networks", {"nargs": "+", "default": list(FAMILY), "help": "names or YAML files"}),
        ("--precisions", {"nargs": "+", "default": ["fp32", "tf32", "bf16"]}),
        ("--trials", {"nargs": "+", "type": int, "default": [1, 2, 4, 8]}),
        ("--only", {"nargs": "+", "choices": PARTS, "default": list(PARTS)}),
        ("--batch-size", {"type": int, "default": 8}),
        ("--image-size", {"type": int, "default": 640}),
        ("--seconds", {"type": float, "default": 5.0, "help": "seconds of each measurement (5)"}),
        ("--device", {"default": "auto", "help": "of the trials; the default needs a GPU"}),
        ("--model", {"type": Path, "help": "model file whose AP is compared (needs --data)"}),
        ("--data", {"type": Path, "help": "data folder for `input` (default: drawn images)"}),
        ("--search", {"type": Path, "help": "data folder for a real search"}),
        (
            "--search-trials-per-gpu",
            {"type": int, "default": 4, "help": "trials per GPU of --search (4)"},
        ),
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


def chosen_device(options):
    """Return the options with the name of their device. Raises SystemExit where there is none."""
    from trials.device import resolve_device

    if options.model is not None and options.data is None:
        raise SystemExit("--model needs --data, the images of which its AP is")
    try:
        device = resolve_device(options.device)
    except ValueError as error:
        raise SystemExit(str(error)) from error
    options.on_gpu = device.type != "cpu"
    if options.device == "auto" and not options.on_gpu:
        raise SystemExit("torch finds no GPU; use --device cpu for the CPU")
    options.device = str(device)
    return options


def table(rows, networks):
    """Return the images per second of each network as a Markdown table."""
    columns = {}
    for row in rows:
        labels = (row.get(key) for key in ("precision", "trials", "mps", "augment_on"))
        title = " ".join([row["part"], *(str(label) for label in labels if label is not None)])
        rate = row.get("images_per_second")
        share = f" ({row['share']:.0%})" if "share" in row else ""
        columns.setdefault(title, {})[row["network"]] = f"{rate:.4g}{share}" if rate else "-"
    shown = {title: cells for title, cells in columns.items() if set(cells.values()) != {"-"}}
    lines = [["images/s (share of the network alone)", *networks], ["---"] * (len(networks) + 1)]
    lines += [[title, *(cells.get(n, "-") for n in networks)] for title, cells in shown.items()]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def measure(options, rows, scratch):
    """Run the selected parts."""
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
    """Measure one or more concurrent trials, without and with MPS."""
    for shares in (False, True) if options.on_gpu else (False,):
        for trials in options.trials:
            labels = {"precision": precision, "trials": trials, "mps": shares}
            values = (name, precision, options, trials, shares)
            rows.measure("together", name, together, *values, **labels)


def together(name, precision, options, trials, shares):
    """Measure the images per second of all concurrent trials."""
    with mps(shares):
        return {"images_per_second": measure_together(name, precision, options, trials)}


def drawn_data(scratch, options):
    """Write a data folder of drawn faces, JPEGs of 1024 px."""
    from trials.data.generated.generate import generate

    root, number = Path(scratch) / "data", 4 if options.quick else 256
    side = 96 if options.quick else 1024
    generate(root, num_train=number, num_val=1, long_side=(side, side))
    return root


def main(argv=None):
    options = chosen_device(parsed(argv))
    machine = machine_of(options.device)
    print(", ".join(f"{key} {value}" for key, value in machine.items()))
    check_agreement(options)
    with tempfile.TemporaryDirectory() as scratch:
        out = options.out or Path(scratch if options.quick else ".") / "gpu.json"
        rows = Rows(out, machine)
        measure(options, rows, scratch)
        print(table(rows.content["rows"], options.networks))
        print(f"{out}: all rows; `share` is relative to the network alone")


if __name__ == "__main__":
    main()
