"""Made-up recordings of finished searches."""

from collections.abc import Mapping, Sequence

from fake_trials import make_architecture

from nas.planning.recording import Recording


def make_recording(hard: Mapping[int, Mapping[int, float]]) -> Recording:
    return Recording(
        epochs=max(next(iter(hard.values()))),
        architectures={number: make_architecture(number) for number in hard},
        hard=hard,
    )


def constant(finals: Sequence[float], epochs: int = 9) -> Recording:
    """Return curves that do not change: candidate i has `finals[i - 1]` at every epoch."""
    curves = {n: dict.fromkeys(range(1, epochs + 1), f) for n, f in enumerate(finals, start=1)}
    return make_recording(curves)


NINE = constant([0.1 * n for n in range(1, 10)])  # candidate 9 is the best
