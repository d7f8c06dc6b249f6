"""Whole search in minutes on two cores: generated faces, stage 1, stage 2.

The numbers were chosen by measurement (docs/LOG.md): ten trainings on small images and with
small networks take minutes, and rank the candidates well enough to be meaningful.
"""

from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from nas.monitoring.progress import Display
from nas.running import cluster
from nas.search.directory import SearchDir
from nas.stage import RunOptions, run_stage
from trials.data.generated.generate import generate
from trials.data.labels import LABEL_FILE
from trials.recipe import Recipe

FLOPS = 500_000_000  # residual, not mobile: the faster learner and the faster step on a CPU
RANGES = {"blocks": ["basic"], "depth": [1, 4]}  # shallow networks learn in fewer iterations
IMAGE_SIZE = 160
EPOCHS = 5
NUM_TRAIN, NUM_VAL = 440, 120
LONG_SIDE = (150, 190)


@dataclass(frozen=True, kw_only=True)
class DemoResult:
    """Data folder, search directory and leaderboard by stage of a demo."""

    data: Path
    directory: SearchDir
    tables: dict[int, pd.DataFrame]


def run_demo(
    root: Path, *, num_candidates: int, epochs: int, seed: int, display: Display
) -> DemoResult:
    """Draw the faces and run both stages in `root`, or continue there.

    Args:
        root: Search directory; the faces are in its folder `data`.
        num_candidates: Candidates of each stage.
        epochs: Epochs of each trial.
        seed: Seed of the faces, the proposals and the trials.
        display: Receives every status and line for the user.

    Raises:
        The errors of `nas.stage.run_stage`.
    """
    data = root / "data"
    if not (data / "train" / LABEL_FILE).is_file():  # the last file that `generate` writes
        display.log(f"drawing {NUM_TRAIN + NUM_VAL} pictures in {data}")
        generate(data, num_train=NUM_TRAIN, num_val=NUM_VAL, seed=seed, long_side=LONG_SIDE)
    directory = SearchDir(root)
    options = {
        "flops": FLOPS,
        "data": str(data),
        "num_candidates": num_candidates,
        "epochs": epochs,
        "image_size": IMAGE_SIZE,
        "seed": seed,
        "recipe": Recipe.named("quick").to_dict(),
    }
    tables = {}
    with cluster.connected() as ray:  # one Ray for both stages
        run = RunOptions(connect=lambda _address: nullcontext(ray))
        for stage, own in ((1, {"space": "resnet", "ranges": RANGES}), (2, {})):
            summary = run_stage(directory, stage, {**options, **own}, run, display)
            tables[stage] = summary.table
    return DemoResult(data=data, directory=directory, tables=tables)
