import csv
from pathlib import Path

import pytest
from tiny import make_architecture

from reports.curves import COLUMNS, Curve, read_curve, read_curves, write_curves
from search_spaces.cost.detector import flops_by_part, params_by_part, total
from search_spaces.errors import ConfigError, DataError


def make_curve(candidate: int, hard: dict[int, float], **other: dict[int, float]) -> Curve:
    architecture = make_architecture(depths=(1, 1, 1, candidate))
    return Curve(candidate=candidate, architecture=architecture, hard=hard, **other)


CURVES = [
    make_curve(1, {2: 0.25, 4: 0.5}, loss={1: 3.0, 2: 2.5, 3: 2.0, 4: 1.5}),
    make_curve(3, {4: 0.75}),
]


def test_curves_round_trip_in_lines_with_costs_and_architecture(tmp_path: Path) -> None:
    write_curves(CURVES, tmp_path / "curves.csv")
    assert read_curves(tmp_path / "curves.csv") == CURVES
    with (tmp_path / "curves.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert tuple(rows[0]) == COLUMNS
    first = [(row["candidate"], row["epoch"], row["hard"]) for row in rows]
    assert first[:3] == [("1", "1", ""), ("1", "2", "0.250000"), ("1", "3", "")]
    assert first[3:] == [("1", "4", "0.500000"), ("3", "4", "0.750000")]
    assert [bool(row["architecture"]) for row in rows] == [True, False, False, False, True]
    cost = flops_by_part(CURVES[0].architecture)
    assert int(rows[0]["flops"]) == total(cost)
    assert int(rows[0]["params"]) == total(params_by_part(CURVES[0].architecture))
    assert float(rows[0]["share_c5"]) == pytest.approx(cost["c5"] / total(cost), abs=5e-5)


def test_the_curve_of_a_trial_is_read_from_its_metrics(tmp_path: Path) -> None:
    curve = read_curve(tmp_path, 5, make_architecture())
    assert (curve.hard, curve.loss, curve.last) == ({}, {}, 0)
    text = "epoch,loss,images_per_second,easy,medium,hard\n1,2.5,10,,,\n2,1.5,10,0.9,0.8,0.7\n"
    (tmp_path / "metrics.csv").write_text(text)
    curve = read_curve(tmp_path, 5, make_architecture())
    assert (curve.candidate, curve.hard, curve.loss) == (5, {2: 0.7}, {1: 2.5, 2: 1.5})
    assert curve.last == 2


@pytest.mark.parametrize(
    ("before", "after", "message"),
    [
        ("0.500000", "half", "line 5: hard must be a number, got 'half'"),
        ("0.500000", "nan", "candidate 1: hard at epoch 4 must be a finite number"),
        ("0.500000", "1.5", "must be a finite number from 0 to 1, got 1.5"),
        (",4,0.5", ",3,0.5", "epoch 3 of candidate 1 is given twice"),
        (",4,0.5", ",0,0.5", "epoch must be an integer of at least 1, got '0'"),
        (",4,0.5", ",,0.5", "epoch must be an integer of at least 1, got ''"),
        ("""depths"":[1,1,1,1]""", """depths"":[1,1,1,2]""", "hash must be that of the"),
        ("""depths"":[1,1,1,1]""", """depths"":[1,1,1]""", "depths must be 4 integers"),
        ('"{""backbone""', '"[{""backbone""', "line 2: architecture is not JSON"),
        ("candidate,", "number,", "lacks the columns ['candidate']"),
        ("\n1,", "\n1,1,1,", "line 2: must have as many fields as the first line"),
    ],
)
def test_damaged_files_are_refused_with_their_line(
    tmp_path: Path, before: str, after: str, message: str
) -> None:
    path = tmp_path / "curves.csv"
    write_curves(CURVES, path)
    text = path.read_text()
    assert before in text
    path.write_text(text.replace(before, after, 1))
    with pytest.raises(DataError) as refused:
        read_curves(path)
    assert message in str(refused.value)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "lacks the columns"),
        (",".join(COLUMNS).encode() + b"\n", "holds no curve"),
        (b"\xff\xfe\x00", "is not UTF-8 text"),
        (b"candidate,epoch,hard,architecture\n1,1,0.5,\n", "candidate 1 has no architecture"),
        (b'candidate,epoch,hard,architecture\n1,1,0.5,"{}', "line"),
    ],
)
def test_missing_files_and_files_without_curves_are_refused(
    tmp_path: Path, content: bytes, message: str
) -> None:
    with pytest.raises(DataError, match="cannot be read"):
        read_curves(tmp_path / "curves.csv")
    (tmp_path / "curves.csv").write_bytes(content)
    with pytest.raises(DataError, match=message):
        read_curves(tmp_path / "curves.csv")


def test_curves_have_positive_epochs_and_finite_values() -> None:
    with pytest.raises(ConfigError, match="an epoch must be an integer of at least 1, got 0"):
        make_curve(1, {0: 0.5})
    with pytest.raises(ConfigError, match="loss at epoch 1 must be a finite number"):
        make_curve(1, {}, loss={1: float("inf")})


def test_the_recorded_search_in_benchmarks_can_be_read() -> None:
    file = Path(__file__).resolve().parents[2] / "benchmarks/data/search_0.5g_photos_stage1.csv"
    curves = read_curves(file)
    assert [sorted(curve.hard) for curve in curves] == [list(range(1, 10))] * 24
    assert max(curves, key=lambda curve: curve.hard[9]).candidate == 3
    flops = [total(flops_by_part(curve.architecture)) for curve in curves]
    assert all(490_000_000 <= count <= 510_000_000 for count in flops)
