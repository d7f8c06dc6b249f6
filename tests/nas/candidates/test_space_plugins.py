"""Search spaces of other packages."""

import re
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from fake_trials import make_data, make_request

from nas.candidates.pool import Pool, stage1_pool
from nas.cli.main import run
from nas.results.report_data import sampler_draws
from nas.strategies import Observation, make_strategy
from nas.strategies.coordinates import Coordinates
from search_spaces.cost.detector import flops_by_part, total
from search_spaces.errors import ConfigError, InfeasibleError
from search_spaces.zoo import load_zoo

GUIDE = (Path(__file__).resolve().parents[3] / "docs" / "SEARCH_SPACES.md").read_text("utf-8")
FLOPS = 2_500_000_000
WRONG = """
from search_spaces.architecture import Architecture
from search_spaces.spaces.sample import Sample
from search_spaces.zoo import load_zoo

class Space:
    def __init__(self, architectures, as_sample=True):
        self.found, self.as_sample = tuple(architectures), as_sample
    def sample(self, generator, num):
        return Sample(architectures=self.found, feasible=None) if self.as_sample else self.found

def none(*given): return Space([])
def twice(*given): return Space([load_zoo("scrfd_2.5g")] * 2)
def heavy(*given): return Space([load_zoo("scrfd_34g")])
def plain(*given): return Space([load_zoo("scrfd_2.5g")], as_sample=False)
def text(*given): return Space(["scrfd_2.5g"])
def many(*given): return Space([load_zoo("scrfd_2.5g"), load_zoo("resnet_2.5g")] * 9)
def fails(*given): raise KeyError("depth\\nof what")
number = 3
"""


def install(root: Path, module: str, text: str, entries: dict[str, str]) -> None:
    """Install a package of one module as pip does."""
    (root / f"{module}.py").write_text(text)
    info = root / f"{module}-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {module}\nVersion: 1.0\n")
    lines = [f"{name} = {value}" for name, value in entries.items()]
    (info / "entry_points.txt").write_text("\n".join(["[scrfd_nas.search_spaces]", *lines, ""]))


@pytest.fixture(autouse=True)
def plugins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Install the example of the guide, and spaces that break rules."""
    code = re.findall(r"```python\n(.*?)```", GUIDE, re.DOTALL)
    toml = re.findall(r"```toml\n(.*?)```", GUIDE, re.DOTALL)
    group, name, value = re.findall(r'\."(.+)"\]\n(\w+) = "(.+)"', toml[0])[0]
    assert group == "scrfd_nas.search_spaces"
    site = tmp_path / "site"
    site.mkdir()
    install(site, "my_spaces", code[0], {name: value})
    wrong = {n: f"wrong_spaces:{n}" for n in re.findall(r"def (\w+)\(\*given", WRONG)}
    wrong |= {"number": "wrong_spaces:number", "gone": "no_such_module:space"}
    install(site, "wrong_spaces", WRONG, wrong)
    monkeypatch.syspath_prepend(str(site))
    monkeypatch.chdir(tmp_path)
    yield
    for module in ("my_spaces", "wrong_spaces"):
        sys.modules.pop(module, None)


def pool(num: int, space: str = "even", **options: Any) -> Pool:
    return stage1_pool(FLOPS, num, 0, space=space, **options)


def test_space_of_the_guide_gives_distinct_candidates_of_the_budget() -> None:
    found = pool(8).architectures
    assert len(set(found)) == 8
    assert pool(3).architectures == found[:3]
    for architecture in found:
        assert 0.98 * FLOPS <= total(flops_by_part(architecture)) <= 1.02 * FLOPS
        assert len(set(architecture.backbone.depths)) == 1
        assert sorted(architecture.backbone.widths) == list(architecture.backbone.widths)


def test_plug_in_interprets_its_ranges() -> None:
    depths = {a.backbone.depths[0] for a in pool(10_000, ranges={"deepest": 2}).architectures}
    assert depths <= {1, 2}
    with pytest.raises(
        ConfigError, match=r"ranges\.deepest must be an integer from 1 to 20, got 0"
    ):
        pool(1, ranges={"deepest": 0})


@pytest.mark.parametrize("strategy", ["tpe", "evolution"])
def test_learning_strategies_stay_in_the_space(strategy: str) -> None:
    members = pool(10_000)
    assert members.note
    request = make_request(flops=FLOPS, space="even", strategy=strategy)
    known = members.architectures[:12]
    seen = [
        Observation(architecture=architecture, hard=0.1 + number / 100)
        for number, architecture in enumerate(known)
    ]
    chosen = make_strategy(request).ask(seen, {a.content_hash for a in known}, 13)
    assert chosen in members.architectures
    assert chosen not in known


def test_propose_accepts_a_plug_in(capsys: pytest.CaptureFixture[str]) -> None:
    command = ["propose", "--stage", "1", "--flops", "2.5G", "--space", "even"]
    assert run([*command, "--num", "2", "--out", "found"]) == 0
    assert sorted(path.name for path in Path("found").glob("*.yaml")) == ["0001.yaml", "0002.yaml"]


def test_unknown_space_is_an_error_that_lists_all_and_writes_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = make_data(tmp_path / "data")
    command = ["stage1", "--flops", "2.5G", "--data", str(data), "--space", "evn"]
    assert run(command) == 1
    line = capsys.readouterr().err
    assert "--space must be auto, mobile, resnet, or a plug-in's (even, fails, gone, " in line
    assert "got 'evn'; see docs/SEARCH_SPACES.md" in line
    assert not Path("runs").exists()


@pytest.mark.parametrize(
    ("space", "message"),
    [
        ("twice", r"up to 5 distinct architectures, got 2 \(1 distinct\)"),
        ("many", r"up to 5 distinct architectures, got 18 \(2 distinct\)"),
        ("heavy", "candidate 1 must have 2,450,000,000 to 2,550,000,000 FLOPs, got 33,9"),
        ("plain", "must return a search_spaces.spaces.sample.Sample, got tuple"),
        ("text", "candidate 1 must be an Architecture, got str"),
        ("fails", r"the plug-in failed \(KeyError: 'depth.nof what'\)"),
        ("number", "wrong_spaces:number must be a function, got int"),
        ("gone", "no_such_module:space cannot be loaded"),
    ],
)
def test_plug_in_that_breaks_a_rule_is_an_error(space: str, message: str) -> None:
    with pytest.raises(ConfigError, match=f"--space {space}: .*{message}"):
        pool(5, space)
    with pytest.raises(InfeasibleError, match="--space none has no architecture of 2,450,000,000"):
        pool(5, "none")


def test_report_has_no_draws_of_a_plug_in() -> None:
    request = make_request(flops=FLOPS, space="even")
    assert sampler_draws(request) is None
    assert sampler_draws(replace(request, space="auto"), count=100) is not None


def test_blocks_with_different_stems_share_the_other_axes() -> None:
    axes = Coordinates.along([load_zoo("scrfd_0.5g"), load_zoo("scrfd_2.5g")])
    assert set(axes.blocks) == {"basic", "depthwise"}
    assert not any("stem" in name for name in axes.names)
    assert axes.point_of(load_zoo("scrfd_0.5g")) is not None
