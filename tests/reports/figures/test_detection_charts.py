import numpy as np
import pytest
from fake_records import make_record

from reports.figures.detection_charts import POINTS, face_size_chart, precision_recall_chart


def test_the_points_of_a_precision_recall_curve_by_hand() -> None:
    record = make_record([10, 20, 30, 40], {0: 0, 1: 1}, [1, 2])
    table = precision_recall_chart({"candidate 1": record}, stage=1).table
    hard = table[table["subset"] == "hard"]
    assert hard["recall"].tolist() == [1 / 4, 2 / 4]
    assert hard["precision"].tolist() == [1, pytest.approx(2 / 3)]
    assert table[table["subset"] == "easy"].empty  # no face counts as easy


def test_a_curve_has_few_points_and_its_ends() -> None:
    record = make_record([10] * 900, {face: face for face in range(900)})
    table = precision_recall_chart({"candidate 1": record}, stage=2).table
    hard = table[table["subset"] == "hard"]["recall"].to_numpy()
    assert len(hard) == POINTS
    assert (hard[0], hard[-1]) == (pytest.approx(1 / 900), 1)


def test_faces_by_height_at_both_scales() -> None:
    records = {"candidate 2": make_record(), "candidate 1": make_record(found={})}
    chart = face_size_chart(records, stage=1)
    table = chart.table.set_index(["name", "scale", "low"])
    assert table.loc[("candidate 2", "image", 8.0), "recall"] == 1
    assert table.loc[("candidate 1", "input", 0.0), "recall"] == 0  # 10 pixels become 5
    assert len(table) == 2 * 2 * 4
    assert (chart.name, "32 to 64" in chart.svg, "128+" in chart.svg) == (
        "face_sizes_stage1",
        True,
        False,
    )


def test_records_without_detections_or_hard_faces_are_drawn() -> None:
    nothing = make_record(found={}, counted_F3=np.zeros((4, 3), bool))
    assert precision_recall_chart({"candidate 1": nothing}, stage=1).table.empty
    assert face_size_chart({"candidate 1": nothing}, stage=1).table.empty


def test_points_and_curves_say_their_values_and_mark_the_row_of_their_candidate() -> None:
    records = {"candidate 7": make_record(found={0: 0, 2: 1}), "template": make_record()}
    sizes = face_size_chart(records, stage=2).svg
    # 10 pixels in the image are 5 in the input, in the first of the bins of 1 face each
    assert 'data-candidate="2-7"><title>candidate 7: recall 1.0000 of 1 faces of 0 to 8' in sizes
    assert sizes.count("<title>candidate 7: recall") == sizes.count("<title>template: ap") == 8
    curves = precision_recall_chart(records, stage=2).svg
    assert "<title>template: hard AP 1.0000</title>" in curves
