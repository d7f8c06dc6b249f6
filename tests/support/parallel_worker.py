"""Data-parallel workers of `test_parallel.py`: processes of gloo groups.

    python parallel_worker.py ROOT DATA

runs every job of `JOBS` with two workers each, one job after the other, and writes their
exit codes to ROOT/codes.json. A worker writes its findings to ROOT/JOB/RANK.
"""

import json
import os
import signal
import sys
import traceback
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any, NamedTuple

import tiny
import torch

from trials.device import resolve_precision
from trials.recipe import Recipe
from trials.result import EpochReport, TrialInterrupted
from trials.run import run_trial
from trials.settings import TrialSettings
from trials.training.epoch import Batch, batch_loss
from trials.training.parallel import Workers, joined_workers
from trials.training.state import start_training
from trials.training.targets import Targets
from trials.trial import Callbacks

TINY = replace(tiny.TINY, head=replace(tiny.TINY.head, keypoints=5))
RECIPE = Recipe(batch_size=2, schedule="cosine", ema_decay=0.9, gradient_clip=5.0)
SETTINGS = TrialSettings(epochs=3, image_size=64, device="cpu", threads=1, workers=2)
FACES_BY_CASE = {"uneven": (1, 3, 2, 0, 1), "one worker without faces": (2, 0, 1, 0)}
COUNT = 2


class Job(NamedTuple):
    """What two workers do: report losses, or train the trial in a folder.

    The leader is killed after epoch `kill_after`; the follower asks to stop after
    `stop_after` iterations. 0: never.
    """

    trial: str | None = None
    kill_after: int = 0
    stop_after: int = 0


JOBS = {
    "losses": Job(),
    "undisturbed": Job("whole"),
    "killed": Job("continued", kill_after=2),
    "again": Job("continued"),
    "interrupted": Job("stopped", stop_after=4),  # in the second epoch, which has three
    "resumed": Job("stopped"),
}
TERMS = ("total", "cls", "box", "keypoint")


def joint_batch(faces: tuple[int, ...]) -> list[tuple[torch.Tensor, Targets]]:
    """Images of 64 x 64 and their targets; `faces[i]` faces are in image i."""
    generator = torch.Generator().manual_seed(7)
    items = []
    for count in faces:
        corners = 32 * torch.rand(count, 2, generator=generator)
        boxes = torch.cat(
            [corners, corners + 12 + 16 * torch.rand(count, 2, generator=generator)], 1
        )
        points = torch.rand(count, 5, 3, generator=generator) * 60
        points[:, :, 2] = 1.0
        image = torch.randn(3, 64, 64, generator=generator)
        items.append((image, Targets(boxes_G4=boxes, keypoints_G53=points)))
    return items


def losses_and_gradients(workers: Workers, case: str) -> dict[str, torch.Tensor]:
    """Return loss terms and gradients of the joint batch from this worker's share of it.

    Batch normalisation uses fixed statistics, since those of the batches differ.
    """
    training = start_training(
        TINY,
        RECIPE,
        seed=3,
        device=torch.device("cpu"),
        precision=resolve_precision("fp32", torch.device("cpu")),
        workers=workers,
    )
    training.model.eval()
    mine = joint_batch(FACES_BY_CASE[case])[workers.rank :: workers.count]
    batch = Batch(
        images_B3HW=torch.stack([image for image, _ in mine]),
        targets=[target for _, target in mine],
        names=[""] * len(mine),
    )
    terms = batch_loss(training, batch)
    terms.total.backward()
    training.workers.average_gradients(training.model.parameters())
    found = {name: workers.mean(getattr(terms, name).detach()) for name in TERMS}
    for name, parameter in training.model.named_parameters():
        assert parameter.grad is not None
        found[f"gradient of {name}"] = parameter.grad
    return found


def report_losses(workers: Workers, out: Path) -> None:
    """Write what a worker computes together with the others."""
    found: dict[str, Any] = {case: losses_and_gradients(workers, case) for case in FACES_BY_CASE}
    found["rank"] = workers.rank
    found["total"] = workers.total(10 + workers.rank)
    found["shared"] = workers.share(lambda: f"from {workers.rank}")
    values = torch.tensor([1.0, 4.0]) if workers.leads else torch.tensor([3.0, 8.0])
    found["mean"], found["mean's argument"] = workers.mean(values), values
    torch.save(found, out)


def train(workers: Workers, out: Path, data: str, folder: Path, job: Job) -> None:
    """Run a trial, and write the epochs reported to this worker and how the trial ended."""
    epochs: list[int] = []
    calls = 0

    def on_epoch(report: EpochReport) -> None:
        epochs.append(report.epoch)
        if report.epoch == job.kill_after:
            os.kill(os.getpid(), signal.SIGKILL)

    def should_stop() -> bool:
        nonlocal calls
        calls += 1
        return not workers.leads and calls == job.stop_after

    settings = replace(SETTINGS, workers=workers.count)
    callbacks = Callbacks(on_epoch=on_epoch, should_stop=should_stop)
    try:
        result = run_trial(
            TINY, RECIPE, data, folder, settings=settings, workers=workers, callbacks=callbacks
        )
        torch.save({"epochs": epochs, "hard": result.hard, "loss": result.loss}, out)
    except TrialInterrupted as error:
        torch.save({"reason": str(error)}, out)


def work(rank: int, job: str, root: Path, data: str) -> None:
    """Join the group as worker `rank` and do a job."""
    folder = root / job
    torch.distributed.init_process_group(
        "gloo",
        init_method=f"file://{folder / 'meeting'}",
        rank=rank,
        world_size=COUNT,
        timeout=timedelta(seconds=120),
    )
    workers = joined_workers()
    out, chosen = folder / str(rank), JOBS[job]
    if chosen.trial is None:
        report_losses(workers, out)
    else:
        train(workers, out, data, root / chosen.trial, chosen)
    torch.distributed.destroy_process_group()


def start(rank: int, job: str, root: Path, data: str) -> int:
    """Fork a worker: torch is imported once for all of them, and has no threads yet."""
    pid = os.fork()
    if pid:
        return pid
    code = 1
    try:
        torch.set_num_threads(1)
        work(rank, job, root, data)
        code = 0
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(code)


def main() -> None:
    root, data = Path(sys.argv[1]), sys.argv[2]
    os.environ["GLOO_SOCKET_IFNAME"] = "lo"
    codes = {}
    for job in JOBS:
        (root / job).mkdir(parents=True)
        pids = [start(rank, job, root, data) for rank in range(COUNT)]
        codes[job] = [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in pids]
    (root / "codes.json").write_text(json.dumps(codes))


if __name__ == "__main__":
    main()
