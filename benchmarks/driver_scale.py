"""Cost of a trial in the driver process: time, memory, files, open files, requests to a store.

A whole stage (`nas.stage.run_stage`: candidates, study, events, folders, leaderboard, Ray) of
`--trials` trials without training, which only report `--epochs` epochs. Time and memory of the
driver process are printed for each tenth of the trials, which shows growth with their number; then
its files, and what a second start of the finished stage takes.

    python benchmarks/driver_scale.py --trials 10000 --without-ray
    python benchmarks/driver_scale.py --trials 1000 --without-ray --store
    python benchmarks/driver_scale.py --trials 256 --slots 64 --seconds 30 --light

`--without-ray` runs the trials in the driver's process, one after the other, and leaves their own
CPU time out. `--store` keeps the search at a `file://` URL and counts requests. With `--seconds`
each trial sleeps that long on one of `--slots` logical cores, and the occupied share of the slots'
time is printed, from the first time that all slots run to the start of the last trial.
"""

import json
import os
import resource
import sys
import tempfile
import threading
from collections import Counter
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import SimpleNamespace
from unittest import mock

from _common import CPU, WALL, arguments, seconds, set_threads, show

GOAL_S = 0.05


@dataclass(frozen=True)
class Proposed:
    """Stand-in for `nas.candidates.proposals.Proposals`."""

    architectures: tuple
    note = None


def propose(request, template):
    """Return distinct candidates without a search space."""
    from search_spaces.zoo import load_zoo

    first = load_zoo("scrfd_0.5g")
    numbers = range(request.num_candidates)
    grown = (replace(first.backbone, widths=(8, 8, 8 + n % 100, 640 + n // 100)) for n in numbers)
    return Proposed(tuple(replace(first, backbone=backbone) for backbone in grown))


def make_data(root, slept):
    """Write a data folder that passes validation, for trials that do not read it."""
    for split in ("train", "val"):
        (root / split / "images").mkdir(parents=True)
        (root / split / "labelv2.txt").write_text(f"# {split}.jpg 64 64\n")
    (root / "val" / "gt").mkdir()
    (root / "seconds.json").write_text(json.dumps(slept))


@dataclass(frozen=True)
class Moment:
    """State of the driver process at the end of a trial (Linux only)."""

    cpu: float
    wall: float
    mib: float
    open_files: int


@dataclass
class Watch:
    """Subscriber that records a `Moment` at the end of each trial; `outside` is not counted."""

    trials: int
    outside: float = 0.0
    ends: list = field(default_factory=list)

    def __call__(self, event):
        if event.kind != "finished":
            return
        pages = int(Path("/proc/self/statm").read_text().split()[1])
        mib = pages * resource.getpagesize() / 2**20
        self.ends.append(Moment(self.cpu(), WALL(), mib, len(os.listdir("/proc/self/fd"))))
        if len(self.ends) % max(1, self.trials // 10) == 0:
            print(f"  {len(self.ends)} trials: {self.ends[-1]}", file=sys.stderr)

    def cpu(self):
        """Return the CPU seconds of the driver."""
        return CPU() - self.outside


@dataclass
class OneByOne:
    """Stand-in for `nas.running.cluster.Cluster`: one trial after the other in this process."""

    watch: Watch
    nodes: tuple = ()
    runs_trial: bool = False

    def run(self, job):
        """Run the tasks and publish the events that Ray's executor would publish."""
        from nas.search.events import TrialEvent

        for task in job.tasks:
            job.publish(TrialEvent(kind="started", number=task.number))
            for report in self.reports(task):
                values = {"epoch": report.epoch, "epochs": report.epochs, "hard": report.aps.hard}
                job.publish(TrialEvent(kind="epoch", number=task.number, **values))
                job.check()
            job.publish(TrialEvent(kind="finished", number=task.number))
            job.check()

    def reports(self, task):
        """Run a task to its end as a worker does, and return its reports."""
        from nas.running.remote_trial_folder import local_folder
        from nas.running.tasks import run_task

        found, begun, self.runs_trial = [], CPU(), True
        with local_folder(task) as (near, put):

            def on_epoch(report):
                found.append(report)
                put()

            run_task(near, on_epoch)
        self.runs_trial = False
        self.watch.outside += CPU() - begun
        return found


def stage_run(watch, executor, slots, light):
    """Return the options of a run of the stage."""
    from nas.run_options import RunOptions
    from nas.running.cluster import connected

    here = Path(__file__).parent
    found = [here, here / "_without_torch"] if light else [here]
    found = [*map(str, found), os.environ.get("PYTHONPATH")]
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, found))

    @contextmanager
    def local(address):
        with nullcontext(executor) if executor else connected(None, cpus=slots) as cluster:
            yield cluster

    return RunOptions(
        entry="_instant_trial:run", propose=propose, connect=local, subscribers=[watch]
    )


@dataclass(frozen=True)
class Search:
    """A search that has been run.

    Attributes:
        root: its directory.
        watch: moments of the driver.
        cpu, wall: seconds of the whole stage.
        again: CPU seconds of a second start, which finds nothing to do.
        status: CPU seconds of its status.
        requests: requests to the store by who made them.
    """

    root: Path
    watch: Watch
    cpu: float
    wall: float
    again: float
    status: float
    requests: Counter


def run_search(options, scratch):
    """Run a search of instant trials."""
    from nas.monitoring.read_status import read_status
    from nas.running.nodes import Node
    from nas.search.directory import SearchDir
    from nas.search.resolve_url import search_path
    from nas.stage import run_stage

    os.environ["XDG_CACHE_HOME"] = f"{scratch}/cache"
    data, watch = Path(scratch) / "nothing", Watch(options.trials)
    make_data(data, options.seconds)
    place = f"{scratch}/search"
    root = search_path(f"file://{place}" if options.store else place)
    executor = OneByOne(watch, (Node(cpus=1.0),)) if options.without_ray else None
    run = stage_run(watch, executor, options.slots, options.light)
    keys = {
        "flops": 500_000_000, "data": str(data), "num_candidates": options.trials,
        "epochs": options.epochs, "image_size": 64, "cpus_per_trial": 1.0, "eval_every": 1,
    }  # fmt: skip
    silent = SimpleNamespace(show=lambda status: None, log=lambda text: None)

    def start():
        return run_stage(SearchDir(root), 1, keys, run, silent)

    with counted_requests(executor) as requests:
        cpu, wall = watch.cpu(), WALL()
        summary = start()
        cpu, wall = watch.cpu() - cpu, WALL() - wall
    assert summary.num_finished == options.trials, f"{summary.num_finished} trials finished"
    again = seconds(start)
    status = seconds(lambda: read_status(SearchDir(root), 1))
    return Search(root, watch, cpu, wall, again, status, requests)


@contextmanager
def counted_requests(executor):
    """Count the requests to object stores made by trials and by the driver."""
    from nas.storage.object_store import Store

    counts, original = Counter(), Store._tried

    def tried(store, done, *rest):
        is_trial = threading.current_thread() is threading.main_thread()
        counts["trial" if is_trial and executor and executor.runs_trial else "driver", done] += 1
        return original(store, done, *rest)

    with mock.patch.object(Store, "_tried", tried):
        yield counts


def show_search(search):
    """Print cost and growth of the driver; return CPU seconds per trial, start and end included."""
    ends = search.watch.ends
    trials, tenth = len(ends), max(2, len(ends) // 10)

    def pace(part):
        return (part[-1].cpu - part[0].cpu) / (len(part) - 1)

    cpu = search.cpu / trials
    show(f"driver, CPU per trial, whole stage of {trials} trials", cpu)
    show("the same, first tenth of the trials", pace(ends[:tenth]))
    show("the same, last tenth", pace(ends[-tenth:]))
    show(
        "the same, before the first and after the last end", search.cpu - ends[-1].cpu + ends[0].cpu
    )
    show("wall per trial, whole stage", search.wall / trials)
    show("memory after a tenth of the trials", ends[tenth - 1].mib, "MiB")
    show("memory at the end", ends[-1].mib, "MiB")
    show("most open files", max(end.open_files for end in ends), "")
    show("a second start, nothing left to do, CPU", search.again)
    show("`status` of the finished stage, CPU", search.status)
    for (who, done), number in sorted(search.requests.items()):
        show(f"requests of the {who} per trial: {done}", number / trials, "")
    return cpu


def show_files(root, trials):
    """Print number and size of the search's files."""
    files = [path for path in root.rglob("*") if path.is_file()]
    show("files per trial", len(files) / trials, "")
    show("bytes per trial, without weights and logs", _size(files) / trials, "B")
    show("of them the study", _size(root.glob("study.*")) / trials, "B")
    show("the study", _size(root.glob("study.*")) / 2**20, "MiB")


def _size(files):
    return sum(path.stat().st_size for path in files)


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


def main(argv=None):
    options = arguments(
        __doc__,
        ("--trials", {"type": int, "default": 1000, "help": "trials of the stage (1000)"}),
        ("--epochs", {"type": int, "default": 2, "help": "epochs that each reports (2)"}),
        ("--slots", {"type": int, "default": 2, "help": "concurrent trials (2)"}),
        ("--seconds", {"type": float, "default": 0.0, "help": "duration of each trial (0)"}),
        ("--without-ray", {"action": "store_true", "help": "one process, without Ray"}),
        ("--store", {"action": "store_true", "help": "keep the search at a URL; count requests"}),
        ("--light", {"action": "store_true", "help": "workers without torch, to save memory"}),
    ).parse_args(argv)
    set_threads(options.threads)
    if options.quick:
        options.trials, options.without_ray = 12, True
    with tempfile.TemporaryDirectory() as scratch:
        search = run_search(options, scratch)
        cpu = show_search(search)
        show_files(search.root, options.trials)
        met = "met" if cpu < GOAL_S else "missed"
        print(f"driver: {cpu:.3g} s of CPU per trial (goal under {GOAL_S}: {met})")
        if options.seconds and options.trials > options.slots:
            share = occupancy(search.root, options.slots)
            what = f"{options.slots} slots, trials of {options.seconds:g} s"
            print(f"slots: {share:.2%} busy, {what} (goal above 95 %)")


if __name__ == "__main__":
    main()
