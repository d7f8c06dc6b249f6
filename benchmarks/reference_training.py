"""Comparison of our training with the reference's.

Trains scrfd_0.5g from scratch with the settings of the reference's runs on the same photos (320
px, batch 8, 30 epochs, boxes not clipped to the crop), and prints the mean loss of four epochs
and the final hard AP next to those of the reference's three seeds. About 15 minutes per seed
on one core.

    python benchmarks/reference_training.py DATA --seed 0 --out runs/reference/0
"""

import argparse
import statistics
from dataclasses import replace
from pathlib import Path

from search_spaces.zoo import load_zoo
from trials.recipe import load_recipe
from trials.result import EpochReport
from trials.run import run_trial
from trials.settings import TrialSettings
from trials.trial import Callbacks

EPOCHS = 30
# Mean of score and box loss in these epochs, and hard AP after the last, of seeds 0, 1, 2.
REFERENCE_LOSS = {
    1: (1.760, 1.719, 1.771),
    10: (1.343, 1.343, 1.329),
    20: (1.159, 1.143, 1.126),
    30: (1.032, 1.045, 1.027),
}
REFERENCE_HARD = (0.2568, 0.2261, 0.2442)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    result = run_trial(
        load_zoo("scrfd_0.5g"),
        replace(load_recipe("reference"), clip_boxes=False),
        options.data,
        options.out,
        settings=TrialSettings(
            epochs=EPOCHS, image_size=320, seed=options.seed, threads=options.threads
        ),
        callbacks=Callbacks(on_epoch=report_epoch),
    )
    mean = statistics.mean(REFERENCE_HARD)
    print(f"hard AP {result.hard:.4f}, reference {mean:.4f}, seeds {REFERENCE_HARD}")
    print(f"easy {result.easy:.4f} medium {result.medium:.4f}, {result.duration_s / 60:.1f} min")


def report_epoch(report: EpochReport) -> None:
    line = f"epoch {report.epoch}: loss {report.loss:.4f}"
    if report.epoch in REFERENCE_LOSS:
        mean = statistics.mean(REFERENCE_LOSS[report.epoch])
        line += f", reference {mean:.4f}, ratio {report.loss / mean:.4f}"
    print(line, flush=True)


if __name__ == "__main__":
    main()
