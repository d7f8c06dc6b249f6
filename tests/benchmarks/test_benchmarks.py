"""The benchmarks run with `--quick`, and their baselines agree with the project."""

import importlib.util
import os
import subprocess
import sys
from argparse import Namespace
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest
import torch
from stand_in_gpu import Gpu, one_gpu
from tiny import TINY, make_data

from search_spaces.cost.detector import flops_by_part, total
from search_spaces.network.detector import build_detector
from search_spaces.zoo import load_zoo
from trials.model_file import save_model

gpu = pytest.fixture(one_gpu)
FOLDER = Path(__file__).resolve().parents[2] / "benchmarks"
SCRIPTS = (
    "assignment_and_losses", "cpu_variants", "driver_scale", "fvcore_confirmation", "gpu",
    "input_pipeline", "light_commands", "proposals_step1", "proposals_step2", "training_step",
    "trial_start", "validation", "widerface_ap",
)  # fmt: skip
LONGER = {"trial_start"}
EXTRA = {"gpu": ["--device", "cpu"]}


@pytest.fixture(autouse=True)
def _as_a_script(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Make the scripts importable and restore torch's threads."""
    monkeypatch.syspath_prepend(str(FOLDER))
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)
    helpers = ("_common", "_reference_counter", "training_step")
    for name in (*helpers, "_gpu_agreement", "_gpu_steps", "_gpu_together"):
        sys.modules.pop(name, None)


def load(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"benchmark_{name}", FOLDER / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(
    "name",
    [pytest.param(n, marks=pytest.mark.slow) if n in LONGER else n for n in SCRIPTS],
)
def test_the_script_runs_and_prints_its_ratio(
    name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    load(name).main(["--quick", *EXTRA.get(name, [])])
    shown = capsys.readouterr().out
    assert any(word in shown for word in (" times", "share", "to the first step", "CPU per trial"))


def test_workers_without_torch_can_run_an_instant_trial() -> None:
    found = [FOLDER, FOLDER / "_without_torch", FOLDER.parent]
    code = "import _instant_trial, nas.running.tune_run, nas.running.tasks as t, sys\n"
    code += "t.release_free_memory(); assert sys.modules['torch'].__version__ == '0'"
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(map(str, found))}
    subprocess.run([sys.executable, "-c", code], check=True, env=environment)


@pytest.mark.parametrize("name", ["scrfd_0.5g", "scrfd_2.5g"])
def test_the_counting_hooks_of_the_baseline_agree_with_the_closed_form(name: str) -> None:
    architecture = load_zoo(name)
    counted = load("_reference_counter").build_and_count(architecture)
    # except GroupNorm at 2 instead of 5 per element, and the upsampling of the neck
    assert counted == pytest.approx(total(flops_by_part(architecture)), rel=0.02)


def test_networks_of_the_gpu_benchmark_equal_the_zoo() -> None:
    steps = load("_gpu_steps")
    for name in steps.FAMILY:
        assert steps.family_member(name) == load_zoo(name)


def test_the_gpu_benchmark_runs_on_a_gpu(gpu: Gpu, capsys: pytest.CaptureFixture[str]) -> None:
    load("gpu").main(["--quick", "--only", "step"])
    shown = capsys.readouterr().out
    assert "device stand-in" in shown
    assert shown.index("agrees    loss scrfd_0.5g") < shown.index("step      scrfd_0.5g")
    assert "error" not in shown


def test_nothing_is_timed_where_gpu_and_cpu_disagree(monkeypatch: pytest.MonkeyPatch) -> None:
    agreement = load("_gpu_agreement")
    for found in (2.0, float("nan")):
        monkeypatch.setattr(agreement, "disagreements", lambda options, v=found: [("crops", v)])
        with pytest.raises(SystemExit, match=r"must agree before .* (2|nan) in crops"):
            agreement.check_agreement(None)


def test_the_aps_of_a_model_are_compared(tmp_path: Path) -> None:
    data = make_data(tmp_path / "data", num_train=1, num_val=2)
    save_model(tmp_path / "m.pt", TINY, build_detector(TINY).state_dict(), {})
    options = Namespace(device="cpu", model=tmp_path / "m.pt", data=data)
    assert load("_gpu_agreement").ap_difference(options) == 0


def test_the_table_of_the_gpu_benchmark_has_a_column_for_each_network() -> None:
    rows = [
        {
            "part": "step",
            "network": "a",
            "precision": "bf16",
            "images_per_second": 81.2,
            "share": 0.9,
        },
        {"part": "step", "network": "b", "precision": "bf16", "error": "out of memory"},
        {"part": "compile", "network": "a", "precision": "bf16", "times": 1.5},
    ]
    assert load("gpu").table(rows, ["a", "b"]).splitlines() == [
        "| images/s (share of the network alone) | a | b |",
        "| --- | --- | --- |",
        "| step bf16 | 81.2 (90%) | - |",
    ]


def test_only_files_need_pyyaml(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    steps = load("_gpu_steps")
    monkeypatch.setitem(sys.modules, "yaml", None)
    assert steps.architecture_of("scrfd_10g").name == "scrfd_10g"
    with pytest.raises(SystemExit, match=r"mine.yaml: .* needs PyYAML"):
        steps.architecture_of("mine.yaml")
