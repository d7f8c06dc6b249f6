"""Time until the first step of a trial: the first one in a slot against a later one.

Ray runs `--trials` trials of SCRFD-0.5G (`--image-size`, `--batch-size`) one after the other in
one slot. The first starts a process, which imports the packages; the others run in the same
process. Wall time and CPU time of that process, by part: of a first trial from the call of the
executor, of a later one (median) from the end of the trial before. The second step, in which
nothing is new, is shown for comparison.
"""

import json
import os
import statistics
import tempfile
import time
from dataclasses import asdict
from pathlib import Path

from _common import arguments, set_threads, show, verdict

GOAL_S = 3.0
PARTS = ("process, imports, placement by Ray", "labels, network, optimiser", "batch", "step")


def make_tasks(options, root):
    """Return equal trials of one epoch with two iterations."""
    from nas.running.tasks import TrialTask
    from search_spaces.zoo import load_zoo
    from trials.data.generated.generate import generate
    from trials.fingerprint import data_fingerprint
    from trials.recipe import Recipe
    from trials.settings import TrialSettings

    data = root / "data"
    generate(data, num_train=2 * options.batch_size, num_val=2)
    settings = TrialSettings(
        epochs=1, image_size=options.image_size, threads=options.threads, device="cpu"
    )
    return [
        TrialTask(
            number=number,
            architecture=load_zoo("scrfd_0.5g").to_dict(),
            recipe=Recipe(batch_size=options.batch_size).to_dict(),
            settings=asdict(settings),
            data_root=str(data),
            folder=str(root / f"{number:04d}"),
            entry="_marked_trial:run",
            fingerprint=data_fingerprint(data),
        )
        for number in range(1, options.trials + 1)
    ]


def starts(tasks):
    """Run the trials; return (wall, CPU) seconds of the parts of each, the second step last."""
    from nas.running.cluster import connected
    from nas.running.tasks import Resources, TrialJob

    found, pids = [], set()
    with connected(cpus=1) as cluster:
        at, cpu = time.time(), 0.0
        job = TrialJob(
            tasks=tasks, resources=Resources(cpus_per_trial=1), publish=lambda event: None
        )
        cluster.run(job)
    for task in tasks:
        pid, marks = json.loads(Path(task.folder, "marks.json").read_text())
        pids.add(pid)
        parts = []
        for _, wall, used in marks:
            parts.append((wall - at, used - cpu))
            at, cpu = wall, used
        found.append([*parts[:4], parts[5]])  # without the second batch
    assert len(pids) == 1, f"{len(pids)} processes ran trials in one slot"
    return found


def show_start(name, parts):
    """Print the parts of a start; return the wall time until the end of the first step."""
    for part, (wall, cpu) in zip((*PARTS, "for comparison: the second step"), parts, strict=True):
        show(f"{name}: {part}, wall", wall)
        show(f"{name}: {part}, CPU", cpu)
    wall, cpu = (sum(values) for values in zip(*parts[:4], strict=True))
    show(f"{name}: until the end of its first step, wall", wall)
    show(f"{name}: until the end of its first step, CPU", cpu)
    return wall


def main(argv=None):
    options = arguments(
        __doc__,
        ("--image-size", {"type": int, "default": 640}),
        ("--batch-size", {"type": int, "default": 8}),
        ("--trials", {"type": int, "default": 4, "help": "trials, at least 2 (4)"}),
    ).parse_args(argv)
    if options.quick:
        options.image_size, options.batch_size, options.trials = 64, 2, 2
    set_threads(options.threads)
    here = str(Path(__file__).parent)
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [here, os.environ.get("PYTHONPATH")]))
    with tempfile.TemporaryDirectory() as scratch:
        first, *others = starts(make_tasks(options, Path(scratch)))
    middle = [
        tuple(statistics.median(values) for values in zip(*part, strict=True))
        for part in zip(*others, strict=True)
    ]
    before, wall = show_start("first", first), show_start("later", middle)
    met = "met" if wall < GOAL_S else "missed"
    print(f"a later trial: {wall:.3g} s to its first step (goal under {GOAL_S:g}: {met})")
    verdict("start of the first trial of a slot against a later one", before / wall)


if __name__ == "__main__":
    main()
