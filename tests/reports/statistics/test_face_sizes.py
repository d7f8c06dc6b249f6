import numpy as np
import pytest
from fake_records import make_record

from reports.statistics.face_sizes import by_height, found_by_one


def test_recall_and_ap_of_each_height_by_hand() -> None:
    # Two faces of 16 to 32 pixels and one of 8 to 16. At threshold 0 one of the two, at 3 the
    # other and a false detection, at 5 the third: F1 is highest at 5, with 3 of 3 and 1 false.
    record = make_record([16, 31.5, 15.5], {0: 0, 1: 3, 2: 5}, [3])
    small, middle = by_height(record, record.height_F)
    assert small == (8, 16, 1, 1.0, 1 / 2)
    # precision 1 at recall 1/2, 2/3 at recall 1
    assert middle[:4] == (16, 32, 2, 1.0)
    assert middle.ap == pytest.approx(1 / 2 + 1 / 2 * 2 / 3)


def test_recall_is_that_at_the_threshold() -> None:
    # F1: 1 face without error 2/3; both faces with 9 false detections 4/13
    record = make_record([20, 20], {0: 0, 1: 5}, [5] * 9)
    ((_, _, faces, recall, ap),) = by_height(record, record.height_F)
    assert (faces, recall) == (2, 1 / 2)
    assert ap == pytest.approx(1 / 2 + 1 / 2 * 2 / 11)


def test_bins_follow_the_given_heights_and_hard_faces() -> None:
    record = make_record([16, 300])
    lows = [[b.low for b in by_height(record, scale * record.height_F)] for scale in (1, 0.5)]
    assert lows == [[16, 128], [8, 128]]
    none = make_record([16, 300], counted_F3=np.zeros((2, 3), bool))
    assert by_height(none, none.height_F) == []


def test_faces_that_only_one_finds() -> None:
    one, other = make_record(found={0: 0, 1: 0}), make_record(found={1: 0, 2: 0, 3: 0})
    assert found_by_one(one, other) == (1, 2)
    assert found_by_one(one, make_record([5])) is None
    assert found_by_one(one, one) == (0, 0)
