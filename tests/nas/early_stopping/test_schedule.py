import pytest
from ray.tune.schedulers import (
    ASHAScheduler,
    FIFOScheduler,
    HyperBandScheduler,
    MedianStoppingRule,
)

from nas.early_stopping.schedule import Schedule, tune_scheduler
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
        ({"epochs": 27, "scheduler": "hyperband"}, (1, 3, 9)),
        ({"epochs": 10, "scheduler": "median", "grace_epochs": 3}, (3, 6, 9)),
        ({"epochs": 1, "scheduler": "asha"}, ()),
    ],
)
def test_trials_are_compared_after_these_epochs(
    options: dict[str, object], milestones: tuple[int, ...]
) -> None:
    assert Schedule(**options).milestones == milestones  # type: ignore[arg-type]


def test_rungs_that_shape_the_learning_rate_are_the_complete_ones() -> None:
    assert Schedule(epochs=9, scheduler="asha").complete_rungs == ()
    assert Schedule(epochs=9, scheduler="asha", rungs="complete").complete_rungs == (1, 3)


def test_asha_compares_where_its_own_rungs_lie() -> None:
    for epochs in (2, 9, 27, 80, 100):
        schedule = Schedule(epochs=epochs, scheduler="asha")
        rungs = [rung for rung, _ in tune_scheduler(schedule)._brackets[0]._rungs]
        assert schedule.milestones == tuple(sorted(r for r in rungs if r < epochs))


@pytest.mark.parametrize(
    ("name", "cls"),
    [
        ("fifo", FIFOScheduler),
        ("asha", ASHAScheduler),
        ("hyperband", HyperBandScheduler),
        ("median", MedianStoppingRule),
    ],
)
def test_the_schedulers_are_those_of_ray_tune(name: str, cls: type) -> None:
    assert type(tune_scheduler(Schedule(epochs=9, scheduler=name))) is cls


@pytest.mark.parametrize(
    ("options", "rule"),
    [
        ({"scheduler": "best"}, "scheduler must be one of"),
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
def test_what_breaks_a_rule_is_refused(options: dict[str, object], rule: str) -> None:
    with pytest.raises(ConfigError, match=rule):
        Schedule(epochs=9, **options)  # type: ignore[arg-type]


def test_complete_rungs_are_not_left_to_tune() -> None:
    with pytest.raises(ConfigError, match="in rounds"):
        tune_scheduler(Schedule(epochs=9, scheduler="asha", rungs="complete"))
