"""Data-parallel workers of `tests/trials/test_parallel.py`: processes of gloo groups.

    python parallel_worker.py ROOT DATA

runs every job of `JOBS` with two workers each, one job after the other, and writes their
exit codes to ROOT/codes.json. A worker writes what it found to ROOT/JOB/RANK.
"""

import json
import os
import signal
import sys
import traceback
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

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
INTERRUPTED_AT = 4  # iterations: in the second epoch, which has three
# Each job's trial folder and the epoch after which its leader is killed (0: never).
JOBS: dict[str, tuple[str | None, int]] = {
    "losses": (None, 0),
    "undisturbed": ("whole", 0),
    "killed": ("continued", 2),
    "again": ("continued", 0),
    "interrupted": ("stopped", 0),
    "resumed": ("stopped", 0),
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
    """The joint batch's loss terms and gradients, from this worker's share of it.

    Batch normalisation uses fixed statistics: with those of its batch a worker differs.
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
    """All that a worker has to say about agreement."""
    found: dict[str, Any] = {case: losses_and_gradients(workers, case) for case in FACES_BY_CASE}
    found["rank"] = workers.rank
    found["total"] = workers.total(10 + workers.rank)
    found["shared"] = workers.share(lambda: f"from {workers.rank}")
    values = torch.tensor([1.0, 4.0]) if workers.leads else torch.tensor([3.0, 8.0])
    found["mean"], found["mean's argument"] = workers.mean(values), values
    torch.save(found, out)


def interrupt(workers: Workers, out: Path, data: str, folder: str) -> None:
    """Run a trial that only the follower is asked to stop."""
    asked = 0

    def should_stop() -> bool:
        nonlocal asked
        asked += 1
        return not workers.leads and asked == INTERRUPTED_AT

    settings = replace(SETTINGS, workers=workers.count)
    try:
        run_trial(
            TINY,
            RECIPE,
            data,
            folder,
            settings=settings,
            workers=workers,
            callbacks=Callbacks(should_stop=should_stop),
        )
    except TrialInterrupted as error:
        torch.save({"reason": str(error)}, out)


def train(workers: Workers, out: Path, data: str, folder: str, stop_after: int) -> None:
    """Run a trial, and write what this worker heard of its epochs and result."""
    heard: list[int] = []

    def on_epoch(report: EpochReport) -> None:
        heard.append(report.epoch)
        if report.epoch == stop_after:
            os.kill(os.getpid(), signal.SIGKILL)

    settings = replace(SETTINGS, workers=workers.count)
    callbacks = Callbacks(on_epoch=on_epoch)
    result = run_trial(
        TINY, RECIPE, data, folder, settings=settings, workers=workers, callbacks=callbacks
    )
    torch.save({"epochs": heard, "hard": result.hard, "loss": result.loss}, out)


def work(rank: int, job: str, root: Path, data: str) -> None:
    """What worker `rank` does for a job."""
    folder = root / job
    torch.distributed.init_process_group(
        "gloo",
        init_method=f"file://{folder / 'meeting'}",
        rank=rank,
        world_size=COUNT,
        timeout=timedelta(seconds=120),
    )
    workers = joined_workers()
    trial, stop_after = JOBS[job]
    if trial is None:
        report_losses(workers, folder / str(rank))
    elif job == "interrupted":
        interrupt(workers, folder / str(rank), data, str(root / trial))
    else:
        train(workers, folder / str(rank), data, str(root / trial), stop_after)
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
