"""Epochs after which the trials of a search are evaluated by default."""

from collections.abc import Iterator
from dataclasses import replace

from nas.early_stopping.schedule import Schedule

MOST_SHARE = 0.03  # of the FLOPs of a trial's training, for the evaluations before its last epoch
PASSES = 3  # FLOPs of a training image in forward passes: the backward pass takes as much as two


def default_evaluations(
    schedule: Schedule, training_images: int, validation_images: int
) -> tuple[int, ...]:
    """Return the epochs to evaluate after besides the last one, ascending; possibly none.

    They are the multiples of a rung of asha, so that its later rungs are among them and asha
    can be replayed from that rung on. The earliest rung is chosen with which the evaluations
    take at most `MOST_SHARE`. The two epochs before the last one, from which reports estimate
    noise, are added if they fit.

    An evaluated image costs one forward pass of the size of a training crop, since it is padded
    to a square of that side: the sizes cancel, and on WIDER FACE an evaluation costs
    3,226 / (3 x 12,880) = 0.084 epochs.

    Args:
        schedule: epochs of a trial, and factor and grace epochs of asha, which need not be its
            scheduler.
        training_images: images of an epoch.
        validation_images: images of an evaluation.
    """
    most = MOST_SHARE * schedule.epochs * PASSES * training_images
    fitting = (chosen for chosen in _choices(schedule) if len(chosen) * validation_images <= most)
    return next(fitting, ())


def _choices(schedule: Schedule) -> Iterator[tuple[int, ...]]:
    """Yield sets of epochs, preferred ones first."""
    last = schedule.epochs
    for step in replace(schedule, scheduler="asha", rungs="shared").milestones:
        between = set(range(step, last, step))
        yield tuple(sorted(between | set(range(max(1, last - 2), last))))
        yield tuple(sorted(between))
