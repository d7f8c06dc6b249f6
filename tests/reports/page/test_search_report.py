import csv
import re
import xml.etree.ElementTree as ET
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fake_records import make_picture, make_record
from fake_stages import make_candidate, make_stage

from reports.figures.search_plots import progress_chart
from reports.figures.shares import share_table
from reports.page.search_report import report_page, write_report
from reports.search_data import Decision, Evaluations, Photo, SamplerDraws, SearchData, StageData
from trials.evaluation.latency import Latency

HOSTILE = """</script><script>alert("x")</script>' onload=x $\\frac{"""
DRAWS = SamplerDraws(
    flops=np.array([1, 2, 5, 5, 9]) * 10**8, accepted=2, window=(490_000_000, 510_000_000)
)
PHOTO = Photo(picture=make_picture(missed=[[1, 2, 3, 4]]), size=(9, 9), content=b"an image")
EVALUATIONS = Evaluations(records={"candidate 1": make_record()}, photos=(PHOTO,))


def report(tmp_path: Path, *stages: StageData) -> str:
    return write_report(SearchData(name="runs", stages=stages), tmp_path).read_text()


def words(*stages: StageData, name: str = "runs") -> str:
    """Return the page without its figures."""
    shares = {stage.stage: share_table(stage) for stage in stages}
    return report_page(SearchData(name=name, stages=stages), [], shares)


def files(folder: Path) -> dict[str, bytes]:
    paths = (path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in paths}


def full_stage(stage: int = 1) -> StageData:
    """Return a stage with all optional data."""
    latency = Latency(
        runtime="onnxruntime",
        device="cpu",
        threads=1,
        height=480,
        width=640,
        runs=100,
        median_ms=12.5,
        p95_ms=14.0,
        slowest_ms=13.0,
    )
    best = replace(make_candidate(1, 0.5, {2: 0.3, 4: 0.5}), latency=latency, hards=(0.5, 0.52))
    stopped = make_candidate(3, (2, 0.25), {2: 0.25})
    made = [best, make_candidate(2, 0.4, {2: 0.2, 4: 0.4}), stopped, "no images", None]
    decisions = (
        Decision(candidate=3, epoch=2, kind="stopped"),
        Decision(candidate=1, epoch=2, kind="promoted"),
    )
    more: dict[str, Any] = {"draws": DRAWS} if stage == 1 else {"evaluations": EVALUATIONS}
    return make_stage(made, stage=stage, decisions=decisions, **more)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write a report of two such stages and return its folder."""
    folder = tmp_path_factory.mktemp("whole")
    report(folder, *(full_stage(stage) for stage in (1, 2)))
    return folder


def test_a_complete_report_and_its_figures(whole: Path) -> None:
    names = [f"{kind}_stage{n}" for n in (1, 2) for kind in ("shares", "curves")]
    names += ["sampler_stage1", "face_sizes_stage2", "precision_recall_stage2"]
    names += ["edf", "progress", "cost"]
    expected = {f"report/{name}.{kind}" for name in names for kind in ("svg", "png", "csv")}
    expected |= {f"report/ranges_stage{n}.csv" for n in (1, 2)} | {"report.html"}
    assert set(files(whole)) == expected
    for name, content in files(whole).items():
        if name.endswith(".svg"):
            ET.fromstring(content)
        assert content.startswith(b"\x89PNG") == name.endswith(".png")
    page = (whole / "report.html").read_text()
    assert page.count('<div class="plot"') == len(names)
    for text in ("no images", "stopped (hard AP 0.2500)", "12.5"):
        assert text in page
    assert "0.5100 <small>±" in page  # over seeds


def test_numbers_of_a_figure_as_csv(whole: Path) -> None:
    with (whole / "report" / "progress.csv").open() as file:
        rows = [row for row in csv.DictReader(file) if row["stage"] == "1"]
    # by number: 4 epochs to 0.5, then 4 + 2 + 1 more without improvement
    found = [(row["epochs"], row["best_hard"]) for row in rows]
    assert found == [("4", "0.5"), ("11", "0.5")]
    with (whole / "report" / "sampler_stage1.csv").open() as file:
        assert sum(int(row["draws"]) for row in csv.DictReader(file)) == 5


def test_trials_are_ordered_by_their_end() -> None:
    first, second = make_stage([0.5, 0.25]).candidates
    stage = make_stage([replace(first, ended=200.0), replace(second, ended=100.0)])
    assert progress_chart([stage]).table["best_hard"].tolist() == [0.25, 0.5]


@pytest.mark.parametrize(
    "made",
    [[], [None, None], ["no data", "no data"], [0.5], [(2, 0.25)], [0.5, 0.5], [0.0, 1.0]],
    ids=["empty", "waiting", "failures", "one", "stopped", "equal", "extreme"],
)
def test_reports_of_any_stage(tmp_path: Path, made: list[Any]) -> None:
    page = report(tmp_path, make_stage(made))
    assert page.startswith("<!DOCTYPE html>")
    assert page.rstrip().endswith("</html>")
    assert (tmp_path / "report" / "ranges_stage1.csv").is_file()


def test_failures_are_listed_with_their_reasons() -> None:
    page = words(make_stage(["the loss is nan at epoch 2", 0.5]))
    assert "the loss is nan at epoch 2" in page[page.index("Failed trials</h2>") :]
    assert "No trial failed" in words(make_stage([0.5]))


def test_published_networks_are_not_ranked() -> None:
    page = words(make_stage([0.1, 0.2]), make_stage([0.3], stage=2))
    assert page.count(">SCRFD-0.5GF<") == 1
    tables = re.findall(r"<table.*?</table>", page, flags=re.S)
    board = next(table for table in tables if ">rank<" in table)
    assert "SCRFD-0.5GF" not in board
    published = next(table for table in tables if "SCRFD-0.5GF" in table)
    assert "sortable" not in published
    assert "640 epochs" in page
    assert "SCRFD-2.5GF" not in page


def test_the_bar_has_every_part_and_sorts_by_the_early_ones() -> None:
    page = words(make_stage([0.1]))
    bar = re.search(r'<td data-value="([\d.]+)"><div class="bar".*?</div>', page, flags=re.S)
    assert bar is not None
    widths = [float(value) for value in re.findall(r"flex:([\d.]+)", bar.group())]
    assert len(widths) == 7
    assert sum(widths) == pytest.approx(100, abs=0.05)
    assert float(bar[1]) == pytest.approx(sum(widths[:3]) / 100, abs=1e-3)


def test_markup_in_data_is_escaped() -> None:
    request = {"flops": 500_000_000, "data": HOSTILE, HOSTILE: HOSTILE}
    record = {"created": HOSTILE, "versions": {HOSTILE: HOSTILE}}
    stage = make_stage([f"reason {HOSTILE}", 0.5], request=request, record=record)
    page = words(stage, name=HOSTILE)
    assert page.count("<script") == 1
    assert page.count("</script>") == 1
    assert "&lt;script&gt;alert" in page


def test_the_page_makes_no_requests(whole: Path) -> None:
    page = (whole / "report.html").read_text()
    assert not re.findall(r"(?:https?:)?//[\w.]+", page.split("<script>")[0])
    links = re.findall(r'(?:href|src)="([^"]*)"', page)
    assert all(link.startswith(("#", "data:image/")) for link in links)
    ids = re.findall(r' id="([^"]*)"', page)
    assert len(ids) == len(set(ids))
    assert {link[1:] for link in links if link.startswith("#")} <= set(ids)
    policy = re.search(r'Policy" content="([^"]*)"', page)
    assert policy is not None
    assert "img-src data:;" in policy[1]


def test_equal_data_give_equal_files(whole: Path, tmp_path: Path) -> None:
    report(tmp_path, *(full_stage(stage) for stage in (1, 2)))
    assert files(tmp_path) == files(whole)


def test_missing_records_are_mentioned_once() -> None:
    assert words(make_stage([0.5]), make_stage([0.6], stage=2)).count("is not shown") == 1


def test_the_limit_of_the_latency_is_stated() -> None:
    stage = full_stage()
    limit = {"max_latency": 13.0, "latency_conditions": "onnxruntime 1.2 on Z80, 1 thread"}
    page = words(replace(stage, request={**stage.request, **limit}))
    assert ", at most 13 ms an image (onnxruntime 1.2 on Z80, 1 thread)." in page
    assert "cpu, 1 thread; limit 13 ms" in page
