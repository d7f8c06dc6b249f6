"""Section of the report on what the best networks find: pictures, curves and sentences."""

import base64
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from reports.figures.chart import Chart
from reports.figures.detection_charts import (
    face_size_chart,
    height_range,
    heights,
    precision_recall_chart,
)
from reports.page.figure import figure
from reports.page.html import Markup, join, prose, tag
from reports.page.text import percent
from reports.search_data import Photo, StageData
from reports.statistics.face_sizes import by_height, found_by_one
from trials.evaluation.record import KINDS, EvaluationRecord
from trials.evaluation.widerface_ap import precision_recall

FEW = 30  # fewest faces of a height of which a difference is reported
_TEXTS = {"found": "found", "missed": "missed", "false": "false detections"}
_NO_RECORD = (
    "What the best networks of this stage find is not shown: the winner's folder has no readable "
    "record of its last evaluation (`evaluation.npz`), which trials of earlier versions lack."
)


def evidence_charts(stage: StageData) -> list[Chart]:
    """Return the charts of the recorded evaluations of a stage, none without records."""
    records = stage.evaluations.records
    if not records:
        return []
    return [face_size_chart(records, stage.stage), precision_recall_chart(records, stage.stage)]


def evidence_section(stage: StageData, charts: Mapping[str, Chart]) -> Markup | None:
    """Return the section of a stage with its `evidence_charts`; None without a winner."""
    if not stage.finished:
        return None
    title = tag("h3", "Faces found and missed")
    evaluations = stage.evaluations
    if not evaluations.records:
        return join(title, tag("p", prose(_NO_RECORD), class_="soft"))
    names = [f"{kind}_stage{stage.stage}" for kind in ("face_sizes", "precision_recall")]
    return join(
        title,
        tag("p", " ".join(detection_findings(evaluations.records))),
        _pictures(evaluations.photos),
        tag("p", evaluations.note, class_="soft") if evaluations.note else None,
        *(figure(charts[name]) for name in names if name in charts),
    )


def detection_findings(records: Mapping[str, EvaluationRecord]) -> list[str]:
    """Return sentences on what the first of several networks finds, and the second does not."""
    (name, best), *others = records.items()
    found, faces = int((best.hard & best.found).sum()), int(best.hard.sum())
    false = _false_detections(best, found)
    sentences = [
        f"At the score {best.score:.2f}, where its F1 is highest, {name} finds {found:,} of "
        f"{faces:,} hard faces ({percent(found / max(faces, 1))}) with {false:,} false detections."
    ]
    for other, record in others[:1]:
        alone = found_by_one(best, record)
        if alone is not None:
            sentences.append(
                f"Faces that only {name} finds: {alone[0]:,}; that only {other} finds: "
                f"{alone[1]:,} (each at its own best F1)."
            )
            sentences += _by_size(best, other, record)
    return sentences


def _false_detections(record: EvaluationRecord, found: int) -> int:
    precision_T, _ = precision_recall(record.matches, record.hard)
    precision = float(precision_T[record.threshold])
    return round(found / precision) - found if precision else 0


def _by_size(best: EvaluationRecord, name: str, other: EvaluationRecord) -> list[str]:
    """Return a sentence on the height at which the recalls differ most."""
    ours, theirs = (by_height(record, heights(record)["input"]) for record in (best, other))
    pairs = [(a, b) for a, b in zip(ours, theirs, strict=True) if a.faces >= FEW]
    if not pairs:
        return []
    one, two = max(pairs, key=lambda pair: abs(pair[0].recall - pair[1].recall))
    return [
        f"Their recalls differ most for faces of {height_range(one.low, one.high)} pixels in the "
        f"network's input: {percent(one.recall)}, and {percent(two.recall)} for {name}."
    ]


def _pictures(photos: Sequence[Photo]) -> Markup | None:
    if not photos:
        return None
    items = (
        tag("li", tag("svg", _line(kind), viewBox="0 0 24 8", aria_hidden="true"), _TEXTS[kind])
        for kind in KINDS
    )
    note = (
        "The images with the most missed faces, with the most false detections, and random ones, "
        "at that score; a click enlarges one. Faces that do not count as hard, and detections of "
        "them, have no box."
    )
    return join(
        tag("ul", *items, class_="key boxes", aria_label="lines of the boxes"),
        tag("div", *map(_picture, photos), class_="pictures"),
        tag("p", note, class_="soft"),
    )


def _line(kind: str) -> Markup:
    return join(*(tag("path", d="M1 4H23", class_=name) for name in ("halo", kind)))


def _picture(photo: Photo) -> Markup:
    """Return an image under its boxes, which keep their colours and widths at any size."""
    picture, (width, height) = photo.picture, photo.size
    counts = ", ".join(f"{picture.counts[kind]:,} {kind}" for kind in KINDS)
    name = picture.path.rpartition("/")[2]
    source = f"data:image/webp;base64,{base64.b64encode(photo.content).decode()}"
    outlines = {kind: _outline(picture.boxes[kind]) for kind in KINDS}
    paths = [("halo", "".join(outlines.values())), *outlines.items()]
    drawn = sum(map(len, picture.boxes.values()))
    left_out = "" if drawn == sum(picture.counts.values()) else f" ({drawn:,} boxes drawn)"
    label = f"{name}: faces {counts}"
    image = tag("image", href=source, width=width, height=height)
    lines = (tag("path", d=d, class_=kind) for kind, d in paths if d)
    view = f"0 0 {width} {height}"
    svg = tag("svg", image, *lines, viewBox=view, role="img", aria_label=label, class_="boxes")
    caption = tag("figcaption", tag("b", picture.reason), f": {counts}{left_out}", tag("br"), name)
    return tag("figure", svg, caption, tabindex=0)


def _outline(boxes_K4: NDArray[np.float32]) -> str:
    """Return boxes (x, y, width, height) as the data of an SVG path, in whole pixels."""
    rows = boxes_K4.clip(-30_000, 30_000).round().astype(int).tolist()
    return "".join(f"M{x} {y}h{w}v{h}h{-w}z" for x, y, w, h in rows)
