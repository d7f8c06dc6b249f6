"""What a scheduler of Ray Tune is told, and what becomes of its decisions.

Tune's schedulers know nothing of earlier runs. A `Judge` stands before one of them: it
adds the trials that ended before as ghosts, which go through their recorded curves at once
whenever the scheduler lets them run. Trials that are continued tell their own curves again
when they start (`nas.running.cluster`). So a fresh scheduler holds what one that was never
interrupted would hold, and what it decides about a ghost is not carried out: a finished
trial stays finished, a stopped one stays stopped.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from ray.tune.experiment import Trial
from ray.tune.schedulers import FIFOScheduler, HyperBandScheduler, TrialScheduler

from nas.early_stopping.schedule import METRIC, TIME, HardCurve
from nas.search.events import EventKind, TrialEvent

_STOP, _PAUSE, _CONTINUE = TrialScheduler.STOP, TrialScheduler.PAUSE, TrialScheduler.CONTINUE


@dataclass(eq=False)
class Ghost:
    """A trial of an earlier run: as much of Tune's `Trial` as its schedulers look at.

    Attributes:
        number: of the candidate.
        curve: what is left to tell, (epoch, hard AP), ascending.
    """

    number: int
    curve: list[tuple[int, float]]
    status: str = Trial.PENDING
    is_saving: bool = False

    @property
    def trial_id(self) -> str:
        """Unlike those of Tune's own trials."""
        return f"ghost-{self.number}"


class Judge(FIFOScheduler):
    """A scheduler for Tune that asks another one (see the module).

    Args:
        inner: a new scheduler that maximises `nas.early_stopping.schedule.METRIC` over `TIME`.
        epochs: of a whole trial. The last one is not judged: whoever got there is finished.
        milestones: epochs after which continuing counts as a promotion.
        ended: curves of the candidates that finished or were stopped before.
    """

    def __init__(
        self,
        inner: TrialScheduler,
        *,
        epochs: int,
        milestones: Collection[int],
        ended: Mapping[int, HardCurve],
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._inner, self._epochs, self._milestones = inner, epochs, frozenset(milestones)
        self._ghosts = [self._ghost(number, ended[number]) for number in sorted(ended)]
        self._num_admitted, self._ghosts_ran = 0, False
        self._decisions: list[TrialEvent] = []
        self._told: dict[int, tuple[int, float]] = {}  # the newest evaluated epoch by candidate
        self._stopped: set[int] = set()

    def __reduce__(self) -> Any:
        return FIFOScheduler, ()  # Tune pickles its scheduler, to restore what we do not

    def has_stopped(self, number: int) -> bool:
        """Whether a candidate's trial was ended early in this run."""
        return number in self._stopped

    def take_decisions(self) -> list[TrialEvent]:
        """What was decided since the last call: `paused`, `promoted` and `stopped`."""
        taken, self._decisions = self._decisions, []
        return taken

    def on_trial_add(self, tune_controller: Any, trial: Any) -> None:
        """Add it behind the ghosts with lower numbers: brackets are filled in this order."""
        self._admit_ghosts(tune_controller, below=trial.config["number"])
        self._inner.on_trial_add(self._seen_by_inner(tune_controller), trial)

    def on_trial_result(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> str:
        """Judge an evaluated epoch that was not judged before."""
        number, epoch, hard = trial.config["number"], result[TIME], _as_recorded(result[METRIC])
        if hard is None or epoch >= self._epochs or epoch <= self._told.get(number, (0, 0))[0]:
            return _CONTINUE
        self._told[number] = (epoch, hard)
        shown = {TIME: epoch, METRIC: hard}
        controller = self._seen_by_inner(tune_controller)
        action = self._inner.on_trial_result(controller, trial, shown)
        if action == _STOP:
            self._stop(number)
        elif action == _PAUSE:
            self._decide("paused", number)
        elif epoch in self._milestones:
            self._decide("promoted", number)
        return action

    def on_trial_complete(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> None:
        """The trial is over, by itself or because it was stopped."""
        self._complete(tune_controller, trial, result.get(TIME), result.get(METRIC))

    def on_trial_error(self, tune_controller: Any, trial: Any) -> None:
        """The trial failed."""
        self._let_bracket_go_on(trial)
        self._inner.on_trial_error(self._seen_by_inner(tune_controller), trial)

    def on_trial_remove(self, tune_controller: Any, trial: Any) -> None:
        """A waiting trial is stopped: only the scheduler itself asks for that."""
        self._stop(trial.config["number"])
        self._inner.on_trial_remove(self._seen_by_inner(tune_controller), trial)

    def choose_trial_to_run(self, tune_controller: Any) -> Any:
        """The inner scheduler's choice; ghosts that it chooses run at once."""
        self._admit_ghosts(tune_controller)
        self._run_ghosts(tune_controller)
        chosen = self._choice(tune_controller)
        while isinstance(chosen, Ghost):
            self._advance(chosen, tune_controller)
            chosen = self._choice(tune_controller)
        if chosen is not None and chosen.status == Trial.PAUSED:
            self._decide("promoted", chosen.config["number"])
        return chosen

    def debug_string(self) -> str:
        """What the inner scheduler says of itself."""
        return self._inner.debug_string()

    def _choice(self, tune_controller: Any) -> Any:
        return self._inner.choose_trial_to_run(self._seen_by_inner(tune_controller))

    def _ghost(self, number: int, curve: HardCurve) -> Ghost:
        return Ghost(number, sorted(curve.items()))

    def _admit_ghosts(self, tune_controller: Any, below: int | None = None) -> None:
        """Add the ghosts with numbers below `below`, None: all."""
        controller = self._seen_by_inner(tune_controller)
        for ghost in self._ghosts[self._num_admitted :]:
            if below is not None and ghost.number >= below:
                return
            self._num_admitted += 1
            self._inner.on_trial_add(controller, ghost)  # type: ignore[arg-type]

    def _run_ghosts(self, tune_controller: Any) -> None:
        """Once, when all are there: a bracket is halved only when it has its trials."""
        if self._ghosts_ran:
            return
        self._ghosts_ran = True
        for ghost in self._ghosts:
            self._advance(ghost, tune_controller)

    def _advance(self, ghost: Ghost, tune_controller: Any) -> None:
        """Let a ghost run until it is paused, or its curve or the scheduler's patience ends."""
        controller = self._seen_by_inner(tune_controller)
        ghost.status = Trial.RUNNING
        epoch = hard = None
        while ghost.curve:
            epoch, hard = ghost.curve.pop(0)
            if epoch >= self._epochs:
                break
            shown = {TIME: epoch, METRIC: hard}
            action = self._inner.on_trial_result(controller, ghost, shown)  # type: ignore[arg-type]
            if action == _PAUSE:
                ghost.status = Trial.PAUSED
                return
            if action == _STOP:
                break
        self._complete(tune_controller, ghost, epoch, hard)
        ghost.status = Trial.TERMINATED

    def _complete(self, tune_controller: Any, trial: Any, epoch: Any, hard: Any) -> None:
        controller = self._seen_by_inner(tune_controller)
        self._let_bracket_go_on(trial)
        if hard is None:
            self._inner.on_trial_remove(controller, trial)
        else:
            self._inner.on_trial_complete(controller, trial, {TIME: epoch, METRIC: hard})

    def _let_bracket_go_on(self, trial: Any) -> None:
        """Undo a flag that HyperBand sets at a bracket's first halving and never takes back.

        With it, a bracket whose last running trial ends by itself would wait for ever.
        """
        if isinstance(self._inner, HyperBandScheduler):
            bracket, _ = self._inner._trial_info[trial]
            bracket.is_being_processed = False

    def _stop(self, number: int) -> None:
        self._stopped.add(number)
        self._decide("stopped", number)

    def _decide(self, kind: EventKind, number: int) -> None:
        epoch, hard = self._told[number]
        event = TrialEvent(kind=kind, number=number, epoch=epoch, epochs=self._epochs, hard=hard)
        self._decisions.append(event)

    def _seen_by_inner(self, tune_controller: Any) -> Any:
        return _Controller(self._inner, tune_controller)


def _as_recorded(hard: float | None) -> float | None:
    """With the digits of `metrics.csv`, so that a continued search compares the same numbers."""
    return None if hard is None else round(hard, 6)


class _Controller:
    """Tune's controller for the inner scheduler, which may stop ghosts too."""

    def __init__(self, inner: TrialScheduler, tune_controller: Any) -> None:
        self._inner, self._tune_controller = inner, tune_controller

    def __getattr__(self, name: str) -> Any:
        return getattr(self._tune_controller, name)

    def stop_trial(self, trial: Any) -> None:
        """As Tune does it for a trial that waits."""
        if not isinstance(trial, Ghost):
            self._tune_controller.stop_trial(trial)
            return
        trial.status = Trial.TERMINATED
        self._inner.on_trial_remove(self, trial)  # type: ignore[arg-type]
