"""Time until the first step of a trial.

A new Python process imports the packages of a trial, reads the data, builds SCRFD-0.5G and trains
its first batch (`--image-size`, `--batch-size`); wall time and CPU time of that process, by part.
"""

import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from _common import arguments, set_threads, show

CHILD = """
import json, sys, time
from pathlib import Path
marks = []
def mark(part):
    marks.append((part, time.time(), time.process_time()))
mark("Python")
sys.path.insert(0, sys.argv[1])
import torch
mark("import of torch")
from search_spaces.zoo import load_zoo
from trials.training import batches
from trials.recipe import Recipe
from trials.run import run_trial
from trials.settings import TrialSettings
from trials.trial import Callbacks
mark("imports of the project (torchvision, scipy, OpenCV)")
of_epoch = batches.TrainingBatches.of_epoch
def marked(self, *place):
    mark("labels, network, optimiser")
    for batch in of_epoch(self, *place):
        mark("first batch")
        yield batch
batches.TrainingBatches.of_epoch = marked
root, size, batch, threads = Path(sys.argv[2]), *map(int, sys.argv[3:6])
class Done(Exception): pass
def stop(done, total):
    mark("first step")
    print(json.dumps(marks))
    raise Done
settings = TrialSettings(epochs=1, image_size=size, threads=threads, device="cpu")
try:
    run_trial(load_zoo("scrfd_0.5g"), Recipe(batch_size=batch), root, root / "trial",
              settings=settings, callbacks=Callbacks(on_step=stop))
except Done:
    pass
"""


def first_step(root, size, batch, threads):
    """Return (part, wall, CPU) seconds of each part until the end of the first step."""
    project = str(Path(__file__).resolve().parents[1])
    before, cpu_before = time.time(), 0.0
    done = subprocess.run(
        [sys.executable, "-c", CHILD, project, root, str(size), str(batch), str(threads)],
        check=True, capture_output=True, text=True,
    )  # fmt: skip
    parts = []
    for part, at, cpu in json.loads(done.stdout.splitlines()[-1]):
        parts.append((part, at - before, cpu - cpu_before))
        before, cpu_before = at, cpu
    return parts


def measure_start(options, scratch):
    """Measure and print the start of a trial."""
    from trials.data.generated.generate import generate

    size, batch = (64, 2) if options.quick else (options.image_size, options.batch_size)
    generate(Path(scratch) / "data", num_train=batch, num_val=2)
    parts = first_step(f"{scratch}/data", size, batch, options.threads)
    for part, wall, cpu in parts:
        show(f"{part}, wall", wall)
        show(f"{part}, CPU", cpu)
    wall, cpu = (sum(values) for values in list(zip(*parts, strict=True))[1:])
    show("a trial's start to the end of its first step, wall", wall)
    show("a trial's start to the end of its first step, CPU", cpu)
    print(
        f"start: {wall:.3g} s to the first step (goal under 8: {'met' if wall < 8 else 'missed'})"
    )


def main(argv=None):
    options = arguments(
        __doc__,
        ("--image-size", {"type": int, "default": 640}),
        ("--batch-size", {"type": int, "default": 8}),
    ).parse_args(argv)
    set_threads(options.threads)
    with tempfile.TemporaryDirectory() as scratch:
        measure_start(options, scratch)


if __name__ == "__main__":
    main()
