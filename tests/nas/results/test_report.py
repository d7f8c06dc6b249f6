"""`report` and `compare` on searches of fake trials."""

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import fake_trials
import pytest
from fake_search import stage1_command
from fake_trials import make_data, make_request

from nas.candidates.proposals import propose_stage1
from nas.cli.main import run
from nas.results.latency_cache import measure_best
from nas.results.report_data import read_search, read_stage, sampler_draws
from nas.search.directory import SearchDir
from reports.latencies import LATENCIES_FILE
from search_spaces.architecture import Architecture, load_architecture
from trials.evaluation.latency import Latency
from trials.settings import LatencyOptions

ROOT = Path("runs/scrfdgen0.5g")
SIZES = {"threads": 1, "height": 480, "width": 640, "runs": 10}
TIMES = {"median_ms": 5.0, "p95_ms": 6.0, "slowest_ms": 7.0}
LATENCY = Latency(runtime="torch", device="cpu", **TIMES, **SIZES)


pytestmark = pytest.mark.usefixtures("without_training")


def search(root: Path = ROOT, num: int = 3, epochs: int = 2, **faults: Any) -> SearchDir:
    """Run stage 1 with data in `data`, which are made by the first call."""
    data = Path("data")
    if not data.exists():
        make_data(data)
    fake_trials.set_faults(data, **faults)
    more = ("--retries", "0", "--search-dir", str(root))
    assert run(stage1_command(data, *more, num=num, epochs=epochs)) == 0
    return SearchDir(root)


def plain(page: str) -> str:
    """Return the text of a page."""
    return re.sub(r"<[^>]*>", "", page)


def stdout(capsys: pytest.CaptureFixture[str]) -> str:
    return capsys.readouterr().out


def test_report_writes_the_page_and_says_where(capsys: pytest.CaptureFixture[str]) -> None:
    search(**{"raise": {"2": 1}})
    capsys.readouterr()
    assert run(["report"]) == 0
    printed = stdout(capsys)
    assert f"report: {ROOT / 'report.html'}" in printed
    page = (ROOT / "report.html").read_text()
    assert "<title>scrfdgen0.5g</title>" in page
    assert f"scrfd-nas confirm --stage 1 --top 2 --seeds 3 --search-dir {ROOT}" in plain(page)
    (title,) = re.findall(r"<h2>(Candidate . of stage 1 leads: hard AP 0.....)</h2>", page)
    assert f"{title}. Confirm it first.\nOne seed, and it leads by " in printed
    assert "epoch 1 is not to be" in page
    assert "scrfd-nas stage1 --config search.yaml" in plain(page)
    assert (ROOT / "report" / "curves_stage1.svg").is_file()
    assert run(["report", "--json"]) == 0
    content = json.loads(stdout(capsys))
    assert content["report"] == str(ROOT / "report.html")
    assert len(content["stage1"]) == 3
    assert (content["verdict"]["title"], content["verdict"]["kind"]) == (title, "confirm")


def test_the_command_of_the_report_repeats_the_search(capsys: pytest.CaptureFixture[str]) -> None:
    directory = search()
    capsys.readouterr()
    again = ["stage1", "--config", str(directory.search_file), "--search-dir", "again", "--json"]
    assert run(again) == 0
    repeated = {row["candidate"]: row["hard"] for row in json.loads(stdout(capsys))["stage1"]}
    assert repeated == {c.candidate: c.hard for c in read_stage(directory, 1).candidates}


def test_times_and_decisions_are_read_and_damaged_files_count_as_missing() -> None:
    directory = search()
    folder, decisions = directory.trial_folder(1, 1), directory.stage_folder(1) / "decisions.csv"
    decisions.write_text(
        "time,scheduler,candidate,epoch,hard,decision\nnow,asha,3,1,0.25,stopped\n"
    )
    (stage,) = read_search(directory).stages
    (found,) = stage.decisions
    assert (found.candidate, found.epoch, found.kind) == (3, 1, "stopped")
    times = [candidate.ended for candidate in stage.candidates]
    assert times == sorted(filter(None, times))  # the fake cluster runs one after the other
    (folder / "metrics.csv").write_text("epoch,loss,hard\none,two,three\n")
    (directory.stage_folder(1) / LATENCIES_FILE).write_text("hash,median_ms\nx,fast\n")
    decisions.write_text("candidate,epoch\nx,y\n")
    stage = read_stage(directory, 1)
    assert (stage.candidates[0].curve, stage.candidates[0].latency) == (None, None)
    assert stage.decisions == ()
    assert stage.candidates[1].curve is not None


def test_the_draws_of_the_histogram_are_those_of_the_search() -> None:
    """Every candidate that the search accepts is among the raw draws of its seed."""
    asked = make_request(flops=2_500_000_000, seed=3)
    found = sampler_draws(asked, count=1 << 15)
    assert found is not None
    assert found.window == (2_450_000_000, 2_550_000_000)
    inside = (found.flops >= found.window[0]) & (found.flops <= found.window[1])
    assert 0 < found.accepted <= inside.sum()
    proposed = propose_stage1(asked.flops, 5, seed=3)
    assert proposed.draws  # rejection sampling, not a list
    assert {c.total_flops for c in proposed.candidates} <= set(found.flops[inside].tolist())


def latencies(directory: SearchDir) -> dict[int, float]:
    """Return the latencies in the report, in ms."""
    candidates = read_stage(directory, 1).candidates
    return {c.candidate: c.latency.median_ms for c in candidates if c.latency}


def test_latencies_are_measured_once_and_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    directory = search()
    timed: list[Architecture] = []

    def measure(architecture: Architecture, options: LatencyOptions) -> Latency:
        timed.append(architecture)
        return replace(LATENCY, median_ms=float(len(timed)))

    for _ in range(2):
        measure_best(directory, 1, measure, log=lambda _: None)
    assert len(timed) == 3
    assert sorted(latencies(directory).values()) == [1.0, 2.0, 3.0]
    monkeypatch.setattr("trials.evaluation.latency.cpu_name", lambda: "another")
    measure_best(directory, 1, measure, log=lambda _: None)
    assert len(timed) == 6  # times of two machines do not stand in one figure
    assert sorted(latencies(directory).values()) in ([1.0, 2.0, 3.0], [4.0, 5.0, 6.0])


def test_a_latency_of_another_network_and_a_damaged_one_do_not_count() -> None:
    directory = search()
    measure_best(directory, 1, lambda *_: LATENCY, log=lambda _: None)
    path = directory.stage_folder(1) / LATENCIES_FILE
    text = path.read_text()
    path.write_text(text.replace(directory.architecture(1, 1).content_hash, "0123456789ab"))
    assert set(latencies(directory)) == {2, 3}
    lines = text.splitlines()
    path.write_text("\n".join([*lines[:-1], lines[-1].replace("5.0", "nan"), "", ","]))
    assert len(latencies(directory)) == 2


def test_compare_prints_tables_and_warnings_and_writes_a_page(
    capsys: pytest.CaptureFixture[str],
) -> None:
    search(Path("one"))
    search(Path("two"), num=4)
    empty = search(Path("none"), epochs=3)
    capsys.readouterr()
    assert run(["compare", "one", "two", "--out", "compared"]) == 0
    output = capsys.readouterr()
    assert "two, stage 1 - one, stage 1" in output.out
    assert "are comparable; they differ in num_candidates: 3 -> 4" in " ".join(output.out.split())
    assert "warning" not in output.err
    assert Path("compared/compare.html").is_file()
    assert Path("compared/compare.svg").is_file()
    assert run(["compare", "one", "two", "--json"]) == 0
    content = json.loads(stdout(capsys))
    assert content["warnings"] == []
    assert content["report"] is None
    assert [p["candidates"] for p in content["populations"]] == [3, 4]
    assert content["differences"][0]["ks"] is None
    assert "with fewer than 8 candidates" in content["sentences"][0]
    (note,) = content["notes"]
    assert note.startswith("one, stage 1 and two, stage 1 are comparable; they differ in num_can")
    assert run(["compare", "one", "none"]) == 0
    warning = "one, stage 1 and none, stage 1 are not comparable: epochs: 2 -> 3"
    assert warning in capsys.readouterr().err
    for number in empty.numbers(1):
        empty.result_file(1, number).unlink()
    assert run(["compare", "one", "two", "none"]) == 0
    assert "none, stage 1 has no finished candidate and is left out" in capsys.readouterr().err


def test_compare_refuses_what_it_cannot_compare(capsys: pytest.CaptureFixture[str]) -> None:
    search(Path("one"))
    search(Path("two"))
    capsys.readouterr()
    for arguments, message in (
        (["one"], "needs two stages with finished candidates, got one, stage 1"),
        (["one", "one"], "a folder is given twice"),
        (["one", "nowhere"], "nowhere: holds no search"),
        (["one", "two", "--stage", "2"], "got none"),
    ):
        assert run(["compare", *arguments]) == 1
        (line,) = capsys.readouterr().err.splitlines()
        assert message in line


def test_markup_and_escape_codes_in_names_are_shown_as_text(
    capsys: pytest.CaptureFixture[str],
) -> None:
    hostile = "<script>alert(1)[red][/nothing]\x1b[31m"
    root = Path("runs") / hostile
    directory = search(root, num=2, **{"raise": {"2": 1}})
    file = directory.architecture_file(1, 1)
    named = replace(load_architecture(file), name=hostile)
    file.write_text(f"# {hostile[:-5]}\n{named.to_yaml()}")
    for command in (["report", "--search-dir", str(root)], ["list"]):
        assert run(command) == 0
    assert run(["logs", "1", "--search-dir", str(root / "<b>\x1b[2J")]) == 1
    shown = "".join(capsys.readouterr())
    assert "\x1b" not in shown
    assert r"<script>alert(1)[red][/nothing]\x1b[31m" in shown
    page = (root / "report.html").read_text()
    assert "<script>alert" not in page
    assert "&lt;script&gt;alert(1)[red]" in page
