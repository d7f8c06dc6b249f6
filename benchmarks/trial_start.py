"""How long until a trial's first step, and what does a trial cost the driver?

The start: a fresh Python process imports what a trial needs, reads the data, builds
SCRFD-0.5G and trains its first batch (`--image-size`, `--batch-size`); wall time, and CPU
time of that process. The driver: `nas.executor` runs `--trials` trials that do nothing but
report two epochs; CPU time of the driver's process in `Cluster.run`, and wall time, which
includes Ray's own processes. The goal is for 1,000 trials; with fewer, set-up weighs more
and what grows with their number less.
"""

import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from _common import CPU, WALL, arguments, set_threads, show

CHILD = """
import json, sys, time
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from search_spaces.zoo import load_zoo
from trials.recipe import Recipe
from trials.run import run_trial
from trials.settings import TrialSettings
root, size, batch, threads = Path(sys.argv[2]), *map(int, sys.argv[3:6])
class Done(Exception): pass
def stop(done, total):
    print(json.dumps({"cpu": time.process_time(), "at": time.time()}))
    raise Done
settings = TrialSettings(epochs=1, image_size=size, threads=threads, device="cpu")
try:
    run_trial(load_zoo("scrfd_0.5g"), Recipe(batch_size=batch), root, root / "trial",
              settings=settings, on_step=stop)
except Done:
    pass
"""


def first_step(root, size, batch, threads):
    """Wall and CPU seconds from the start of a process to the end of its first step."""
    project = str(Path(__file__).resolve().parents[1])
    started = time.time()
    done = subprocess.run(
        [sys.executable, "-c", CHILD, project, root, str(size), str(batch), str(threads)],
        check=True, capture_output=True, text=True,
    )  # fmt: skip
    moment = json.loads(done.stdout.splitlines()[-1])
    return moment["at"] - started, moment["cpu"]


def driver_seconds(trials, scratch):
    """CPU and wall seconds of the driver a trial, Ray's start not included."""
    here = str(Path(__file__).parent)
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, (here, os.environ.get("PYTHONPATH"))))
    from nas.executor import connected
    from nas.tasks import Resources, TrialTask, plain_settings
    from search_spaces.zoo import load_zoo
    from trials.recipe import Recipe
    from trials.settings import TrialSettings

    tasks = [
        TrialTask(
            number=number,
            architecture=load_zoo("scrfd_0.5g").to_dict(),
            recipe=Recipe().to_dict(),
            settings=plain_settings(TrialSettings(epochs=2)),
            data_root=scratch,
            folder=f"{scratch}/{number:04d}",
            entry="_instant_trial:run",
        )
        for number in range(1, trials + 1)
    ]
    events = []
    with connected(cpus=2) as cluster:
        cpu, wall = CPU(), WALL()
        cluster.run(tasks, Resources(cpus_per_trial=1), on_event=events.append)
        cpu, wall = CPU() - cpu, WALL() - wall
    finished = sum(event.kind == "finished" for event in events)
    assert finished == trials, f"{finished} of {trials} trials finished"
    return cpu / trials, wall / trials


def met(holds):
    return "met" if holds else "missed"


def main(argv=None):
    options = arguments(
        __doc__,
        ("--trials", {"type": int, "default": 40, "help": "trials that do nothing (40); 0: none"}),
        ("--image-size", {"type": int, "default": 640}),
        ("--batch-size", {"type": int, "default": 8}),
    ).parse_args(argv)
    set_threads(options.threads)
    from trials.data.generate import generate

    size, batch = (64, 2) if options.quick else (options.image_size, options.batch_size)
    with tempfile.TemporaryDirectory() as scratch:
        generate(Path(scratch) / "data", num_train=batch, num_val=2)
        wall, cpu = first_step(f"{scratch}/data", size, batch, options.threads)
        show("a trial's start to the end of its first step, wall", wall)
        show("a trial's start to the end of its first step, CPU", cpu)
        print(f"start: {wall:.3g} s to the first step (goal under 8: {met(wall < 8)})")
        if options.quick or not options.trials:
            return
        cpu, wall = driver_seconds(options.trials, scratch)
    show(f"driver, CPU a trial, at {options.trials} trials", cpu)
    show(f"driver and Ray, wall a trial, at {options.trials} trials", wall)
    used = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    show("driver, memory", used, "MiB")
    print(f"driver: {cpu:.3g} s of CPU a trial (goal under 0.2: {met(cpu < 0.2)})")


if __name__ == "__main__":
    main()
