"""A whole search in minutes on two cores: generated faces, stage 1, stage 2.

The numbers were chosen by measurement (docs/LOG.md): small pictures and a small budget,
so that a dozen trainings fit into minutes, and enough of them that ranks mean something.
"""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import pandas as pd

from nas.monitoring.progress import Update
from nas.running.cluster import Cluster, connected
from nas.search.directory import SearchDir
from nas.stage import Note, RunOptions, run_stage
from trials.data.dataset import LABEL_FILE
from trials.data.generated.generate import generate
from trials.recipe import Recipe

FLOPS = 500_000_000  # residual, not mobile: the faster learner and the faster step on a CPU
IMAGE_SIZE = 160
EPOCHS = 5
NUM_TRAIN, NUM_VAL = 480, 160
LONG_SIDE = (150, 190)


@dataclass(frozen=True, kw_only=True)
class DemoResult:
    """Where the demo's files lie, and both leaderboards by stage."""

    data: Path
    directory: SearchDir
    tables: dict[int, pd.DataFrame]


def run_demo(
    root: Path,
    *,
    num_candidates: int,
    epochs: int,
    seed: int,
    update: Callable[[], AbstractContextManager[Update]],
    note: Note,
) -> DemoResult:
    """Draw the faces and run both stages in `root`, or continue what is there.

    Args:
        root: gets `data` and `search`.
        num_candidates: of each stage.
        epochs: of each trial.
        seed: of the faces, the proposals and the trials.
        update: a display for one stage (see `nas.monitoring.progress.shown`).
        note: hears of what the user should know.

    Raises: as `nas.stage.run_stage`.
    """
    data = root / "data"
    if not (data / "train" / LABEL_FILE).is_file():  # what `generate` writes last
        note(f"drawing {NUM_TRAIN + NUM_VAL} pictures in {data}")
        generate(data, num_train=NUM_TRAIN, num_val=NUM_VAL, seed=seed, long_side=LONG_SIDE)
    directory = SearchDir(root / "search")
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
    with connected() as cluster:  # one Ray for both stages
        run = replace(RunOptions(), connect=lambda _address: _already(cluster))
        for stage, own in ((1, {"space": "resnet"}), (2, {})):
            with update() as tell:
                wanted = {**options, **own}
                summary = run_stage(directory, stage, wanted, run, update=tell, note=note)
            tables[stage] = summary.table
    return DemoResult(data=data, directory=directory, tables=tables)


@contextmanager
def _already(cluster: Cluster) -> Iterator[Cluster]:
    """`cluster`, which stays connected afterwards."""
    yield cluster
