"""Time until the first step of a trial, and cost of a trial in the driver process.

The start: a new Python process imports the packages of a trial, reads the data, builds
SCRFD-0.5G and trains its first batch (`--image-size`, `--batch-size`); wall time and CPU time
of that process, by part.

The driver: a whole stage (`nas.stage.run_stage`: study, leaderboard, Ray) of `--trials`
trials without training that report two epochs; CPU time and memory of the driver process
between the first and the last end of a trial, also for the first and the last tenth, which
shows growth with the number of trials; `--without-ray` omits Ray. With `--seconds` each trial
sleeps that long on one of `--slots` logical cores, and the occupied share of the slots' time
is printed, from the first time that all slots run to the start of the last trial.
"""

import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace

from _common import CPU, WALL, arguments, set_threads, show

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


@dataclass(frozen=True)
class Proposed:
    """Stand-in for `nas.candidates.proposals.Proposals`."""

    architectures: tuple
    note = None


def propose(request, template):
    """Return distinct candidates without a search space."""
    from search_spaces.zoo import load_zoo

    first = load_zoo("scrfd_0.5g")
    grown = (replace(first.backbone, widths=(8, 8, 8 + n, 640 + n)) for n in range(2000))
    chosen = [replace(first, backbone=backbone) for backbone in grown]
    return Proposed(tuple(chosen[: request.num_candidates]))


def make_data(root, seconds):
    """Write a data folder that passes validation, for trials that do not read it."""
    for split in ("train", "val"):
        (root / split / "images").mkdir(parents=True)
        (root / split / "labelv2.txt").write_text(f"# {split}.jpg 64 64\n")
    (root / "val" / "gt").mkdir()
    (root / "seconds.json").write_text(json.dumps(seconds))


def memory_mib():
    """Return the resident memory of this process (Linux only)."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize() / 2**20


class OneByOne:
    """Stand-in for `nas.running.cluster.Cluster`: one trial after the other in this process."""

    def __init__(self):
        from nas.running.nodes import Node

        self.nodes = (Node(cpus=1.0),)

    def run(self, job):
        """Run the tasks and publish the events that Ray's executor would publish."""
        from nas.running.tasks import run_task
        from nas.search.events import TrialEvent

        for task in job.tasks:

            def on_epoch(report, number=task.number):
                values = {"epoch": report.epoch, "epochs": report.epochs, "hard": report.aps.hard}
                job.publish(TrialEvent(kind="epoch", number=number, **values))

            job.publish(TrialEvent(kind="started", number=task.number))
            run_task(task, on_epoch)
            job.publish(TrialEvent(kind="finished", number=task.number))
            job.check()


def run_search(trials, slots, seconds, scratch, without_ray=False, light=False):
    """Return the ends of trials as (CPU, wall, MiB of the driver), and the search directory."""
    here = Path(__file__).parent
    found = [here, here / "_without_torch"] if light else [here]
    found = [*map(str, found), os.environ.get("PYTHONPATH")]
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, found))
    from nas.run_options import RunOptions
    from nas.running.cluster import connected
    from nas.search.directory import SearchDir
    from nas.stage import run_stage

    root, data = Path(scratch) / "search", Path(scratch) / "nothing"
    make_data(data, seconds)
    ends = []

    def watch(event):
        if event.kind == "finished":
            ends.append((CPU(), WALL(), memory_mib()))
            if len(ends) % max(1, trials // 10) == 0:
                print(f"  {len(ends)} trials, {ends[-1][0] - ends[0][0]:.2f} s of CPU, "
                      f"{ends[-1][2]:.0f} MiB", file=sys.stderr)  # fmt: skip

    @contextmanager
    def local(address):
        with nullcontext(OneByOne()) if without_ray else connected(None, cpus=slots) as cluster:
            yield cluster

    run = RunOptions(
        entry="_instant_trial:run", propose=propose, connect=local, subscribers=[watch]
    )
    options = {
        "flops": 500_000_000, "data": str(data), "num_candidates": trials, "epochs": 2,
        "image_size": 64, "cpus_per_trial": 1.0, "eval_every": 1,
    }  # fmt: skip
    silent = SimpleNamespace(show=lambda status: None, log=print)
    summary = run_stage(SearchDir(root), 1, options, run, silent)
    assert summary.num_finished == trials, f"{summary.num_finished} of {trials} trials finished"
    return ends, root


def show_driver(ends):
    """Print cost and growth of the driver; return CPU seconds per trial."""

    def pace(part):
        (cpu, wall, _), (last_cpu, last_wall, _) = part[0], part[-1]
        return (last_cpu - cpu) / (len(part) - 1), (last_wall - wall) / (len(part) - 1)

    tenth = max(2, len(ends) // 10)
    cpu, wall = pace(ends)
    show(f"driver, CPU per trial, at {len(ends)} trials", cpu)
    show("the same, first tenth of the trials", pace(ends[:tenth])[0])
    show("the same, last tenth", pace(ends[-tenth:])[0])
    show("driver and Ray, wall per trial", wall)
    show("driver, memory after a tenth of the trials", ends[tenth - 1][2], "MiB")
    show("driver, memory at the end", ends[-1][2], "MiB")
    return cpu


def occupancy(root, slots):
    """Return the occupied share of the slots' time, from when all run to the last start."""
    times = [json.loads(file.read_text()) for file in root.glob("stage1/*/times.json")]
    begun = {}  # start of the first trial of each process (one per slot)
    for started, _, pid in times:
        begun[pid] = min(started, begun.get(pid, started))
    assert len(begun) == slots, f"{len(begun)} processes ran trials in {slots} slots"
    first, last = max(begun.values()), max(started for started, _, _ in times)
    busy = sum(max(0.0, min(ended, last) - max(started, first)) for started, ended, _ in times)
    return busy / (slots * (last - first))


def met(holds):
    return "met" if holds else "missed"


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
    print(f"start: {wall:.3g} s to the first step (goal under 8: {met(wall < 8)})")


def measure_driver(options, scratch):
    """Measure and print the cost of a trial in the driver, and the occupancy of the slots."""
    slots = options.slots
    how = {"without_ray": options.without_ray, "light": options.light}
    ends, root = run_search(options.trials, slots, options.seconds, scratch, **how)
    cpu = show_driver(ends)
    print(f"driver: {cpu:.3g} s of CPU per trial (goal under 0.2: {met(cpu < 0.2)})")
    if options.seconds and options.trials > slots:
        share = occupancy(root, slots)
        what = f"{slots} slots, trials of {options.seconds:g} s"
        print(f"slots: {share:.2%} busy, {what} (goal above 95 %: {met(share > 0.95)})")


def main(argv=None):
    options = arguments(
        __doc__,
        ("--trials", {"type": int, "default": 40, "help": "trials of a stage (40), 0 for none"}),
        ("--slots", {"type": int, "default": 2, "help": "concurrent trials (2)"}),
        ("--seconds", {"type": float, "default": 0.0, "help": "duration of each trial (0)"}),
        (
            "--without-ray",
            {"action": "store_true", "help": "the driver without Ray, in one process"},
        ),
        (
            "--light",
            {"action": "store_true", "help": "workers without torch, so that many fit in memory"},
        ),
        ("--no-start", {"action": "store_true", "help": "only the driver"}),
        ("--image-size", {"type": int, "default": 640}),
        ("--batch-size", {"type": int, "default": 8}),
    ).parse_args(argv)
    set_threads(options.threads)
    with tempfile.TemporaryDirectory() as scratch:
        if not options.no_start:
            measure_start(options, scratch)
        if not options.quick and options.trials:
            measure_driver(options, scratch)


if __name__ == "__main__":
    main()
