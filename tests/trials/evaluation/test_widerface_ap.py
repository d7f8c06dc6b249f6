"""Each rule of the WIDER FACE evaluation by hand, and all of them against plain loops."""

import tarfile
from pathlib import Path

import numpy as np
import pytest

from search_spaces.errors import DataError
from trials.data.ground_truth import Truth, make_truth
from trials.data.widerface_mat import read_ground_truth
from trials.evaluation import widerface_ap
from trials.evaluation.prediction_files import read_predictions
from trials.evaluation.widerface_ap import evaluate, overlaps
from trials.result import APs

FACE = (0, 0, 9, 9)  # 10 x 10 pixels, counted inclusively
OTHER = (100, 0, 9, 9)
THIRD = (200, 0, 9, 9)
NOWHERE = (500, 500, 9, 9)


def truth_of(**images: list[tuple[float, ...]]) -> Truth:
    """Return ground truth in which all faces count in every subset."""
    named = {f"e/{name}": faces for name, faces in images.items()}
    every = {name: range(len(faces)) for name, faces in named.items()}
    return make_truth(named, easy=every, medium=every, hard=every)


def found(*rows: tuple[tuple[float, ...], float]) -> np.ndarray:
    return np.array([(*box, score) for box, score in rows], dtype=float).reshape(-1, 5)


def hard(predictions: dict[str, np.ndarray], truth: Truth) -> float:
    return evaluate(predictions, truth).hard


CASES = {  # faces, predictions, AP
    "all found": ([FACE, OTHER], [(FACE, 0.9), (OTHER, 0.4)], 1),
    "half found": ([FACE, OTHER], [(FACE, 0.9)], 1 / 2),
    "false positive first": ([FACE], [(NOWHERE, 0.9), (FACE, 0.1)], 1 / 2),
    # precision 0, 1/2, 2/3 at recall 0, 1/2, 1: the 1/2 is raised to 2/3
    "monotone precision": ([FACE, OTHER], [(NOWHERE, 1), (FACE, 0.5), (OTHER, 0)], 2 / 3),
    # precision 1, 1/2, 2/3 at recall 1/2, 1/2, 1
    "all points count": ([FACE, OTHER], [(FACE, 1), (NOWHERE, 0.5), (OTHER, 0)], 5 / 6),
    "a score equal to a threshold reaches it": (
        [FACE, OTHER],
        [(FACE, 1.0), (OTHER, 0.5), (NOWHERE, 0.4995), (NOWHERE, 0.0)],
        1,
    ),
    "equal scores are one step": ([FACE], [(FACE, 0.7), (NOWHERE, 0.7)], 1 / 2),
    "overlap of a half": ([FACE], [((0, 0, 4, 9), 1)], 1),
    "overlap below a half": ([FACE], [((0, 0, 3.9, 9), 1)], 0),
    "inverted boxes": ([FACE, (5, 5, -9, -9)], [((5, 5, -9, -9), 1)], 0),
    # the second prediction overlaps the neighbour by 0.6 but the first face by more
    "best face is taken": ([FACE, (2, 0, 9, 9)], [(FACE, 1), ((0.5, 0, 9, 9), 0)], 1 / 2),
}


@pytest.mark.parametrize("case", CASES)
def test_ap_by_hand(case: str) -> None:
    faces, rows, expected = CASES[case]
    assert hard({"e/a": found(*rows)}, truth_of(a=faces)) == pytest.approx(expected, abs=1e-15)


def test_scores_in_one_thousandth_of_the_whole_sets_range_are_one_step() -> None:
    # a alone would be stretched to two steps; with b's range 0..1 both fall between
    # thresholds 0.500 and 0.501, and precision jumps to 2/3 at once
    a = found((FACE, 0.5004), (NOWHERE, 0.5002))
    b = found((FACE, 1.0), (NOWHERE, 0.0))
    assert hard({"e/a": a}, truth_of(a=[FACE])) == 1.0
    truth = truth_of(a=[FACE], b=[FACE])
    assert hard({"e/a": a, "e/b": b}, truth) == pytest.approx(0.5 + 0.5 * 2 / 3)


@pytest.mark.parametrize(("scale", "shift"), [(100, 0), (1, -5), (0.01, 3)])
def test_only_the_relative_position_of_scores_matters(scale: float, shift: float) -> None:
    rows = found((FACE, 1), (NOWHERE, 0.5), (OTHER, 0))
    rows[:, 4] = rows[:, 4] * scale + shift
    assert hard({"e/a": rows}, truth_of(a=[FACE, OTHER])) == pytest.approx(5 / 6)


def test_overlap_counts_border_pixels() -> None:
    # inclusive sizes 10 x 10 and 5 x 10; as plain sizes 9 x 9 and 4 x 9 it would be 4 / 9
    assert overlaps(np.array([[0.0, 0, 4, 9]]), np.array([FACE], float)).item() == 0.5
    # boxes that touch share one column of ten pixels
    assert overlaps(np.array([[9.0, 0, 9, 9]]), np.array([FACE], float)).item() == 10 / 190
    assert overlaps(np.array([[10.0, 0, 9, 9]]), np.array([FACE], float)).item() == 0


@pytest.mark.parametrize("nothing", [{}, {"e/b": np.zeros((0, 5))}, {"e/b": np.zeros(0)}])
def test_an_image_without_predictions_adds_to_the_face_count(
    nothing: dict[str, np.ndarray],
) -> None:
    predictions = {"e/a": found((FACE, 0.9))} | nothing
    assert hard(predictions, truth_of(a=[FACE], b=[FACE, OTHER, THIRD])) == 0.25


def test_images_without_ground_truth_only_stretch_the_scores() -> None:
    a = found((FACE, 0.5004), (NOWHERE, 0.5002))
    predictions = {"e/a": a, "e/unknown": found((FACE, 1.0), (FACE, 0.0))}
    assert hard(predictions, truth_of(a=[FACE])) == 0.5


def test_a_subset_without_faces_or_predictions_is_zero() -> None:
    truth = make_truth({"e/a": [FACE]}, easy={}, medium={}, hard={"e/a": [0]})
    assert evaluate({"e/a": found((FACE, 0.9))}, truth) == APs(easy=0, medium=0, hard=1)
    for empty in (truth_of(a=[FACE]), truth_of()):
        assert evaluate({}, empty) == APs(easy=0, medium=0, hard=0)


def test_the_callers_arrays_are_not_changed() -> None:
    rows = found((OTHER, 3), (NOWHERE, 5), (FACE, 9))
    rows.setflags(write=False)
    truth = truth_of(a=[FACE, OTHER])
    faces = truth.boxes_F4.copy()
    evaluate({"e/a": rows}, truth)
    assert (rows == found((OTHER, 3), (NOWHERE, 5), (FACE, 9))).all()
    assert (truth.boxes_F4 == faces).all()


def test_wrong_shapes_are_refused() -> None:
    with pytest.raises(DataError, match=r"e/a must have the shape \(N, 5\), got \(2, 4\)"):
        evaluate({"e/a": np.zeros((2, 4))}, truth_of(a=[FACE]))


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_values_that_are_not_finite_are_refused(value: float) -> None:
    rows = {"e/a": found((FACE, 0.9)), "e/b": found((FACE, value))}
    with pytest.raises(DataError, match="e/b"):
        evaluate(rows, truth_of(a=[FACE]))


@pytest.mark.parametrize("value", [-0.1, 1.1, float("nan")])
def test_an_ap_is_a_fraction(value: float) -> None:
    with pytest.raises(DataError, match="hard"):
        APs(easy=0.5, medium=0.5, hard=value)


def random_case(seed: int) -> tuple[dict[str, np.ndarray], Truth]:
    """Return images with overlapping faces, near hits, misses and equal scores."""
    rng = np.random.default_rng(seed)
    faces = {
        f"e/{i}": np.round(
            np.column_stack((rng.uniform(0, 60, (n, 2)), rng.uniform(0, 40, (n, 2))))
        )
        for i, n in enumerate(rng.integers(0, 12, 30))
    }
    chosen = {
        name: {key: np.flatnonzero(rng.random(len(f)) < share) for key, f in faces.items()}
        for name, share in (("easy", 0.2), ("medium", 0.5), ("hard", 0.9))
    }
    rows = {}
    for name, boxes in faces.items():
        count = int(rng.integers(0, 25))
        near = boxes[rng.integers(0, len(boxes), count)] if len(boxes) else np.ones((count, 4))
        scores = np.round(rng.random(count), int(rng.integers(1, 6)))
        rows[name] = np.column_stack((near + rng.normal(0, 3, (count, 4)), scores))
    return rows, make_truth(faces, **chosen)


def plain_evaluation(predictions: dict[str, np.ndarray], truth: Truth, subset: int) -> float:
    """Apply the same rules in loops over thresholds, images, predictions and faces."""
    scores = np.concatenate([rows[:, 4] for rows in predictions.values()])
    low, span = scores.min(), scores.max() - scores.min()
    curve = np.zeros((1000, 2))
    for number, name in enumerate(truth.names):
        rows = sorted(predictions[name].tolist(), key=lambda row: -row[4])
        boxes, counted = truth.boxes(number).tolist(), truth.counted(number)[:, subset]
        taken: set[int] = set()
        steps = []  # (normalised score, adds to precision, adds to recall)
        for row in rows if boxes else []:
            ious = [plain_iou(row, box) for box in boxes]
            best = ious.index(max(ious))
            if ious[best] < 0.5:
                outcome = (1, 0)
            elif not counted[best]:
                outcome = (0, 0)
            else:
                outcome = (1, int(best not in taken))
                taken.add(best)
            steps.append(((row[4] - low) / span, outcome))
        for t in range(1000):
            for score, outcome in steps:
                if score >= 1 - (t + 1) / 1000:
                    curve[t] += outcome
    recall = curve[:, 1] / truth.counted_F3[:, subset].sum()
    precision = curve[:, 1] / np.maximum(curve[:, 0], 1)
    area, last = 0.0, 0.0
    for t in range(1000):
        area += (recall[t] - last) * precision[t:].max()
        last = recall[t]
    return area


def plain_iou(row: list[float], box: list[float]) -> float:
    sides = [
        min(row[i] + row[i + 2], box[i] + box[i + 2]) - max(row[i], box[i]) + 1 for i in (0, 1)
    ]
    if min(sides) <= 0:
        return 0.0
    inter = sides[0] * sides[1]
    areas = [(b[0] + b[2] - b[0] + 1) * (b[1] + b[3] - b[1] + 1) for b in (row, box)]
    return inter / (sum(areas) - inter)


@pytest.mark.parametrize("seed", range(3))
def test_agrees_with_plain_loops(seed: int) -> None:
    predictions, truth = random_case(seed)
    aps = evaluate(predictions, truth)
    expected = [plain_evaluation(predictions, truth, subset) for subset in range(3)]
    assert 0.01 < min(expected) < max(expected) < 0.99
    assert [aps.easy, aps.medium, aps.hard] == pytest.approx(expected, abs=1e-12)


def test_an_image_matched_in_parts_gives_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    predictions, truth = random_case(3)
    whole = evaluate(predictions, truth)
    monkeypatch.setattr(widerface_ap, "PAIRS_AT_ONCE", 7)
    assert evaluate(predictions, truth) == whole


def test_published_predictions_give_the_known_ap(shared_dir: Path, tmp_path: Path) -> None:
    with tarfile.open(
        shared_dir / "data" / "widerface_predictions" / "retinaface_mnet0.25.tar.gz"
    ) as archive:
        archive.extractall(tmp_path, filter="data")
    predictions = read_predictions(tmp_path / "python_detect")
    aps = evaluate(predictions, read_ground_truth(shared_dir / "data" / "widerface_gt"))
    peer = {
        "easy": 0.8326214771790076,
        "medium": 0.7701010962076884,
        "hard": 0.3953560028111831,
    }
    assert aps.as_dict() == pytest.approx(peer, abs=1e-12)
