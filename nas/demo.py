"""Whole search in minutes on two cores, on generated faces.

The numbers were chosen by measurement (docs/LOG.md): trainings on small images and with small
networks take minutes, and rank the candidates well enough to be meaningful.
"""

from pathlib import Path

from nas.monitoring.progress import Display
from nas.planning.search_rules import SearchPlan
from nas.search.directory import SearchDir
from nas.whole_search import WholeSearch
from trials.data.generated.generate import generate
from trials.data.labels import LABEL_FILE
from trials.settings import VALIDATION

FLOPS = 500_000_000  # residual, not mobile: the faster learner and the faster step on a CPU
RANGES = {"blocks": ["basic"], "depth": [1, 4]}  # shallow networks learn in fewer iterations
IMAGE_SIZE = 160
CANDIDATES, EPOCHS = 4, 5
NUM_TRAIN, NUM_VAL = 440, 120
LONG_SIDE = (150, 190)


def demo_search(
    root: Path,
    display: Display,
    *,
    num_candidates: int = CANDIDATES,
    epochs: int = EPOCHS,
    seed: int = 0,
) -> WholeSearch:
    """Draw the faces unless they are there, and return the search of the demo.

    Args:
        root: Search directory; the faces are in its folder `data`.
        display: Receives a line about the faces.
        num_candidates: Candidates of each stage.
        epochs: Epochs of each trial.
        seed: Seed of the faces, the proposals and the trials.
    """
    data = root / "data"
    if not (data / "train" / LABEL_FILE).is_file():  # the last file that `generate` writes
        display.log(f"drawing {NUM_TRAIN + NUM_VAL} pictures in {data}")
        generate(data, num_train=NUM_TRAIN, num_val=NUM_VAL, seed=seed, long_side=LONG_SIDE)
    plan = SearchPlan(
        candidates=num_candidates,
        epochs=epochs,
        scheduler="fifo",
        grace_epochs=None,
        strategy="random",
        select_on=VALIDATION,
        confirmed=1,
        seeds=2,
        final_epochs=2 * epochs,
        recipe="quick",
    )
    options = {"flops": FLOPS, "data": str(data), "image_size": IMAGE_SIZE, "seed": seed}
    return WholeSearch(
        directory=SearchDir(root),
        plan=plan,
        options={**options, "space": "resnet", "ranges": RANGES},
        out=root / f"final-{num_candidates}",  # with more candidates another one may win
    )
