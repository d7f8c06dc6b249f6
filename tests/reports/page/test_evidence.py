import re
from dataclasses import replace

import numpy as np
from fake_records import make_picture, make_record
from fake_stages import make_stage
from images import noise

from reports.page.evidence import detection_findings, evidence_charts, evidence_section
from reports.search_data import Evaluations, Photo
from trials.data.images import encoded

HOSTILE = """</svg><script>alert("x")</script>' onload=x"""


def photo(path: str = "val/images/e/a.png") -> Photo:
    picture = make_picture(
        path, "most missed", found=[[1.4, 2, 10, 20]], missed=[[-5, 0, 9, 9.6], [0, 0, 1, 1]]
    )
    return Photo(picture=picture, size=(100, 50), content=encoded(noise(50, 100), ".webp"))


def section(evaluations: Evaluations) -> str:
    stage = make_stage([0.4, 0.5], evaluations=evaluations)
    charts = {chart.name: chart for chart in evidence_charts(stage)}
    return evidence_section(stage, charts) or ""


def test_pictures_curves_and_counts() -> None:
    records = {"candidate 2": make_record(), "candidate 1": make_record(found={0: 0})}
    html = section(Evaluations(records=records, photos=(photo(),)))
    assert html.count('href="data:image/webp;base64,') == 1
    assert 'role="img" aria-label="a.png: faces 1 found, 2 missed, 0 false"' in html
    found, missed = "M1 2h10v20h-10z", "M-5 0h9v10h-9zM0 0h1v1h-1z"
    lines = re.findall(r'<path d="([^"]*)" class="(\w+)">', html[html.index("data:image") :])
    assert lines[:3] == [(found + missed, "halo"), (found, "found"), (missed, "missed")]
    assert "false" not in dict(map(reversed, lines))
    assert "boxes drawn" not in html
    assert html.count('class="plot"') == 2


def test_names_are_escaped() -> None:
    records = {f"candidate {HOSTILE}": make_record(), "other": make_record([50] * 40)}
    evaluations = Evaluations(records=records, photos=(photo(f"v/{HOSTILE}.png"),), note=HOSTILE)
    html = section(evaluations)
    assert "<script" not in html
    assert "&lt;script&gt;" in html


def test_boxes_that_are_left_out_are_announced() -> None:
    counts = {"found": 9000, "missed": 0, "false": 0}
    crowd = replace(make_picture(found=[[0, 0, 5, 5]] * 3), counts=counts)
    photos = (replace(photo(), picture=crowd),)
    html = section(Evaluations(records={"candidate 2": make_record()}, photos=photos))
    assert "9,000 found, 0 missed, 0 false (3 boxes drawn)" in html


def test_without_records_there_is_one_sentence() -> None:
    html = section(Evaluations())
    assert html.count("<p") == 1
    assert "evaluation.npz" in html
    assert evidence_section(make_stage(["failed", None]), {}) is None


def test_without_images_the_curves_stay_and_the_reason_is_given() -> None:
    note = "Pictures are left out: no data."
    html = section(Evaluations(records={"candidate 2": make_record()}, note=note))
    assert note in html
    assert 'class="pictures"' not in html
    assert html.count('class="plot"') == 2


def test_findings_by_hand() -> None:
    # 40 faces of 10 and 40 of 50 pixels, halved in the input; 30 of the large ones are missed
    heights = [20.0] * 40 + [100.0] * 40
    best = make_record(heights, dict.fromkeys(range(80), 0), [0] * 20)
    other = make_record(heights, dict.fromkeys(range(50), 0))
    found, alone, by_size = detection_findings({"candidate 2": best, "candidate 1": other})
    assert "score 0.50" in found
    assert "finds 80 of 80 hard faces (100.0 %) with 20 false detections" in found
    assert "that only candidate 2 finds: 30; that only candidate 1 finds: 0 (" in alone
    assert "faces of 32 to 64 pixels in the network's input: 100.0 %, and 25.0 % for" in by_size


def test_findings_without_comparison() -> None:
    nothing = make_record(found={}, counted_F3=np.zeros((4, 3), bool))
    assert "finds 0 of 0 hard faces" in detection_findings({"candidate 1": nothing})[0]
    assert len(detection_findings({"a": make_record(), "b": make_record([5])})) == 1
    few = {"a": make_record(), "b": make_record(found={})}  # of each height
    assert len(detection_findings(few)) == 2
