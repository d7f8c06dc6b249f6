"""The benchmarks run with `--quick`, and their baselines agree with the project."""

import importlib.util
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest
import torch

from search_spaces.cost.detector import flops_by_part, total
from search_spaces.zoo import load_zoo

FOLDER = Path(__file__).resolve().parents[2] / "benchmarks"
SCRIPTS = (
    "assignment_and_losses", "fvcore_confirmation", "gpu", "input_pipeline", "proposals_step1",
    "proposals_step2", "training_step", "trial_start", "validation", "widerface_ap",
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
    for name in ("_common", "_reference_counter", "_gpu_steps", "_gpu_together", "training_step"):
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
    assert any(word in shown for word in (" times", "share", "to the first step"))


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


def test_only_files_need_pyyaml(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    steps = load("_gpu_steps")
    monkeypatch.setitem(sys.modules, "yaml", None)
    assert steps.architecture_of("scrfd_10g").name == "scrfd_10g"
    with pytest.raises(SystemExit, match=r"mine.yaml: .* needs PyYAML"):
        steps.architecture_of("mine.yaml")
