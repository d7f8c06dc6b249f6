"""Rows of a leaderboard from the files of a stage."""

from nas.monitoring.read_status import read_displayed
from nas.search.crop_search import crop_shares
from nas.search.directory import SearchDir
from nas.search.request import AnyRequest, RedistributionRequest
from reports.latencies import by_hash, read_latencies
from reports.leaderboard import Row
from reports.statistics.confirmation import confirmed
from trials.result import Outcome, TrialResult


def stage_rows(directory: SearchDir, stage: int, *, is_over: bool = False) -> list[Row]:
    """Return the stage's candidates for a leaderboard.

    No trial counts as running if the stage's run `is_over`.
    """
    request = directory.requests().get(stage)
    outcomes = directory.outcomes(stage)
    displayed = None if is_over else read_displayed(directory, stage)
    running = {trial.name for trial in displayed.trials if trial.is_running} if displayed else set()
    latencies = by_hash(read_latencies(directory.stage_folder(stage)), _conditions(request))
    rows = []
    for number, architecture in directory.candidates(stage).items():
        epochs = directory.epochs_done(stage, number)
        state = "running" if str(number) in running else "interrupted" if epochs else "waiting"
        rows.append(
            Row(
                candidate=number,
                architecture=architecture,
                outcome=outcomes.get(number),
                state=state,
                epochs=epochs,
                select_on=request.select_on if request else "val",
                crops=_crops(request, number),
                hards=_hards(directory, stage, number, outcomes.get(number)),
                latency=latencies.get(architecture.content_hash),
                max_latency=request.max_latency if request else None,
            )
        )
    return rows


def _conditions(request: AnyRequest | None) -> str | None:
    """Return the conditions of the latencies that a limit applies to; None without a limit."""
    return request.latency_conditions if request else None


def _crops(request: AnyRequest | None, number: int) -> dict[float, float]:
    """Return the probability by crop scale, in the stage that searches them."""
    searched = isinstance(request, RedistributionRequest)
    return crop_shares(request.recipe_of(number)) if request and searched else {}


def confirmed_best(directory: SearchDir, stage: int) -> tuple[int, float] | None:
    """Return the candidate with the highest mean over seeds; None if none was confirmed."""
    outcomes = directory.outcomes(stage)
    hards = {n: _hards(directory, stage, n, outcome) for n, outcome in outcomes.items()}
    found = confirmed(hards)
    return next(((number, item.mean) for number, item in found.items()), None)


def _hards(
    directory: SearchDir, stage: int, number: int, outcome: Outcome | None
) -> tuple[float, ...]:
    """Return the hard APs of a finished candidate: of the search's seed, then of other seeds."""
    if not isinstance(outcome, TrialResult):
        return ()
    return (outcome.hard, *directory.hards_by_seed(stage, number).values())
