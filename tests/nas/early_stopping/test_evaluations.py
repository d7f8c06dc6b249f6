import pytest

from nas.early_stopping.evaluations import MOST_SHARE, default_evaluations
from nas.early_stopping.schedule import Schedule

WIDER = (12_880, 3226)  # one evaluation takes 3226 / (3 x 12,880) = 0.0835 epochs


@pytest.mark.parametrize(
    ("schedule", "images", "expected"),
    [
        # asha's rungs are 8, 24, 72. The multiples of 8 and the two epochs before the last one
        # take 11 x 0.0835 = 0.92 of 80 epochs, 1.1 %.
        ({"epochs": 80}, WIDER, (*range(8, 80, 8), 78, 79)),
        ({"epochs": 80, "grace_epochs": 10}, WIDER, (*range(10, 80, 10), 78, 79)),
        ({"epochs": 80, "reduction_factor": 4}, WIDER, (*range(5, 80, 5), 78, 79)),
        # 3 % of 30 epochs are 10.8 evaluations: without the two.
        ({"epochs": 30}, WIDER, tuple(range(3, 30, 3))),
        # 3 % of 9 epochs are 3.2 evaluations: from the second rung, 3, on.
        ({"epochs": 9}, WIDER, (3, 6)),
        ({"epochs": 4}, WIDER, (3,)),
        ({"epochs": 3}, WIDER, ()),
        ({"epochs": 1}, WIDER, ()),
        # Equally many images: 3 % of 80 epochs are 7.2 evaluations.
        ({"epochs": 80}, (100, 100), (24, 48, 72, 78, 79)),
        ({"epochs": 80}, (100, 10_000), ()),
        ({"epochs": 3}, (100, 0), (1, 2)),
        ({"epochs": 80}, (0, 10), ()),
        # The scheduler need not be asha with shared rungs.
        ({"epochs": 80, "scheduler": "asha"}, WIDER, (*range(8, 80, 8), 78, 79)),
        (
            {"epochs": 80, "scheduler": "asha", "rungs": "complete"},
            WIDER,
            (*range(8, 80, 8), 78, 79),
        ),
    ],
)
def test_default_evaluations(schedule, images, expected):
    assert default_evaluations(Schedule(**schedule), *images) == expected


def test_later_rungs_are_evaluated_and_the_share_is_kept():
    for epochs in range(1, 200):
        for validation in (1, 30, 100, 400):
            schedule = Schedule(epochs=epochs, scheduler="asha")
            found = default_evaluations(schedule, 100, validation)
            assert len(found) * validation / 300 <= MOST_SHARE * epochs + 1e-9
            if found:
                first = min(set(found) & set(schedule.milestones))
                assert {rung for rung in schedule.milestones if rung >= first} <= set(found)
