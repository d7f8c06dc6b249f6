import pytest

from nas.early_stopping.schedule import Schedule
from search_spaces.errors import ConfigError


@pytest.mark.parametrize(
    ("options", "milestones"),
    [
        ({"epochs": 80}, ()),
        ({"epochs": 80, "scheduler": "asha"}, (8, 24, 72)),
        ({"epochs": 80, "scheduler": "asha", "grace_epochs": 20}, (20, 60)),
        ({"epochs": 80, "scheduler": "asha", "reduction_factor": 2}, (20, 40)),
        ({"epochs": 80, "scheduler": "asha", "rungs": "complete"}, (8, 26)),
        ({"epochs": 80, "scheduler": "asha", "rungs": "complete", "grace_epochs": 10}, (26,)),
        ({"epochs": 1, "scheduler": "asha"}, ()),
    ],
)
def test_milestones(options: dict[str, object], milestones: tuple[int, ...]) -> None:
    schedule = Schedule(**options)  # type: ignore[arg-type]
    assert schedule.milestones == milestones
    assert schedule.complete_rungs == (milestones if schedule.is_complete else ())


@pytest.mark.parametrize(
    ("options", "rule"),
    [
        ({"scheduler": "best"}, "scheduler must be one of"),
        ({"scheduler": "hyperband"}, "'hyperband' was removed, .*; use asha"),
        ({"scheduler": "median"}, "'median' was removed, .*; use asha"),
        ({"rungs": "some"}, "rungs must be one of"),
        ({"reduction_factor": 1}, "reduction_factor must be"),
        ({"grace_epochs": 0}, "grace_epochs must be"),
        ({"grace_epochs": 10}, "grace_epochs must be"),
        ({"rungs": "complete"}, "complete rungs need --scheduler asha"),
        (
            {"scheduler": "asha", "rungs": "complete", "grace_epochs": 4},
            r"grace epochs \(4\) to below epochs / reduction_factor \(3\)",
        ),
    ],
)
def test_an_invalid_schedule_is_refused(options: dict[str, object], rule: str) -> None:
    with pytest.raises(ConfigError, match=rule):
        Schedule(epochs=9, **options)  # type: ignore[arg-type]
