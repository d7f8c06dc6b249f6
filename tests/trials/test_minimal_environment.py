"""Trials run without the packages that only other parts of the project need."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = """
import sys

ABSENT = "yaml pandas ray optuna fvcore typer rich onnx onnxruntime matplotlib tensorboardX pytest"
sys.modules.update(dict.fromkeys(ABSENT.split()))  # None: as if not installed

from search_spaces.architecture import Architecture, Backbone, Head, Neck
from trials.data.generated.generate import generate
from trials.recipe import Recipe
from trials.run import run_trial
from trials.settings import TrialSettings

generate("data", num_train=4, num_val=2, seed=0, long_side=(64, 96))
tiny = Architecture(
    backbone=Backbone(block="basic", stem_widths=(8,), depths=(1,) * 4, widths=(8,) * 4),
    neck=Neck(width=8),
    head=Head(convs=1, width=8, groups=8),
)
settings = TrialSettings(epochs=1, image_size=64, threads=1, device="cpu")
print(run_trial(tiny, Recipe.named("quick"), "data", "trial", settings=settings).state)
"""


def test_a_trial_runs_without_any_other_package(tmp_path: Path) -> None:
    command = [sys.executable, "-W", "error", "-c", SCRIPT]
    environment = {"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin", "HOME": str(tmp_path)}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["finished"]
