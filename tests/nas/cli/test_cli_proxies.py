"""`audit-proxies`, and `--screen` on the command line."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from command_line import CommandLine
from fake_search import FakeSearch
from fake_trials import hard_ap, make_architecture, make_data

from nas.candidates import audit
from nas.candidates.proposals import propose_stage1
from nas.stage import RunOptions
from reports.curves import Curve, write_curves
from trials.proxies.registry import PROXIES, score


@pytest.fixture
def finished(tmp_path: Path) -> Path:
    """A search of 6 finished trials."""
    search = FakeSearch(tmp_path, make_data(tmp_path / "data"), asked={"epochs": 2})
    search.begin(6)
    return search.directory.root


@pytest.fixture
def knowing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Proxies that know the AP."""
    monkeypatch.setattr(audit, "score", lambda name, architecture: hard_ap(architecture))


def test_the_table_has_a_row_a_proxy(finished: Path, cli: CommandLine) -> None:
    output = cli.run(["audit-proxies", "--search-dir", str(finished)])
    for proxy in PROXIES.values():
        assert f"{proxy.name} " in output.out
        assert proxy.about in output.out
    assert f"{finished}: 6 finished trials of stage 1\n" in output.out


@pytest.mark.usefixtures("knowing")
def test_json_has_the_figures_of_every_search(finished: Path, cli: CommandLine) -> None:
    other = shutil.copytree(finished, finished.with_name("other"))
    command = ["audit-proxies", "--search-dir", str(finished), "--against", str(other)]
    content = cli.json([*command, "--proxy", "zen", "--proxy", "params"])
    assert content["stage"] == 1
    assert [item["search_dir"] for item in content["searches"]] == [str(finished), str(other)]
    for item in content["searches"]:
        assert [row["proxy"] for row in item["proxies"]] == ["zen", "params", "regression"]
        for row in item["proxies"][:2]:
            assert (row["num"], row["level"], row["verdict"]) == (6, 0.95, "usable")
            assert row["tau"] == pytest.approx(1)
            assert 0 < row["low"] <= row["tau"] <= row["high"] + 1e-9
            assert (row["regret"], row["epochs"]) == (0.0, 0)


def test_curves_in_a_file_and_short_trainings_are_compared(
    tmp_path: Path, cli: CommandLine
) -> None:
    def write(name: str, epochs: int, finals: list[float]) -> str:
        curves = [
            Curve(candidate=n, architecture=make_architecture(n), hard={1: 0.01 * n, epochs: final})
            for n, final in enumerate(finals, start=1)
        ]
        write_curves(curves, tmp_path / name)
        return str(tmp_path / name)

    command = ["audit-proxies", "--curves", write("long.csv", 4, [0.1, 0.2, 0.3])]
    command += ["--short", write("short.csv", 2, [0.3, 0.2, 0.1]), "--proxy", "depth"]
    rows = cli.json(command)["searches"][0]["proxies"]
    assert [(row["proxy"], row["epochs"], row["tau"]) for row in rows] == [
        ("depth", 0, 1.0),
        ("epoch 1", 1, 1.0),
        ("short 2", 2, -1.0),
    ]
    assert "2 epochs" in cli.run(command).out


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--stage", "2"], "stage 2 has not begun"),
        (["--proxy", "zem"], "a proxy is one of params"),
        (["--against", "nowhere"], "nowhere: holds no search"),
    ],
)
def test_mistakes_are_one_line(
    finished: Path, more: list[str], message: str, cli: CommandLine
) -> None:
    error = cli.run(["audit-proxies", "--search-dir", str(finished), *more], 1).err
    assert message in error
    assert error.strip().splitlines()[-1].startswith("error: ")


def test_proposals_are_the_best_of_their_pool(tmp_path: Path, cli: CommandLine) -> None:
    command = ["propose", "--stage", "1", "--flops", "0.5G", "--num", "3", "--screen", "params"]
    command += ["--screen-from", "30", "--screen-force", "--out", str(tmp_path / "out"), "--json"]
    output = cli.run(command)
    assert "the best 3 of 30 candidates by params (forced, no audit)" in output.err
    pool = propose_stage1(500_000_000, 30, 0).architectures
    expected = sorted(pool, key=lambda a: -score("params", a))[:3]
    found = [candidate["hash"] for candidate in json.loads(output.out)["candidates"]]
    assert found == [architecture.content_hash for architecture in expected]
    assert (tmp_path / "out" / "screening_params.csv").is_file()


@pytest.mark.usefixtures("knowing")
def test_proposals_are_screened_after_an_audit_of_another_search(
    finished: Path, tmp_path: Path, cli: CommandLine
) -> None:
    command = ["propose", "--stage", "1", "--flops", "0.5G", "--num", "2", "--screen", "zen"]
    command += ["--screen-from", "5", "--out", str(tmp_path / "out")]
    assert "--screen zen has no audit" in cli.run(command, 1).err
    assert not (tmp_path / "out").exists()
    printed = cli.run([*command, "--screen-audit", str(finished)]).err
    assert f"6 trials of stage 1 of {finished}" in printed


def test_a_pool_smaller_than_the_choice_is_refused(tmp_path: Path, cli: CommandLine) -> None:
    command = ["propose", "--stage", "1", "--flops", "0.5G", "--num", "9", "--screen", "params"]
    printed = cli.run([*command, "--screen-from", "5", "--out", str(tmp_path / "out")], 1).err
    assert "screen_from must be at least num_candidates (9), got 5" in printed


@pytest.mark.usefixtures("knowing")
def test_the_stages_take_the_screens_flags(
    cli: CommandLine, finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[RunOptions] = []

    def stop(directory: Any, stage: int, options: Any, run: RunOptions, *_: Any) -> None:
        asked.append(run)
        assert (options["screen"], options["screen_from"]) == ("zen", 50)
        raise KeyboardInterrupt

    monkeypatch.setattr("nas.stage.run_stage", stop)
    command = ["stage1", "--search-dir", str(finished), "--screen", "zen", "--screen-from", "50"]
    cli.run([*command, "--screen-audit", "other", "--screen-force"], 130)
    assert (asked[0].screen_audit, asked[0].screen_force) == (Path("other"), True)
