"""Latencies of a search's best candidates, measured once."""

from collections.abc import Callable

from nas.candidates.latency_limit import Measure
from nas.search.directory import SearchDir
from reports.latencies import Timed, by_hash, read_latencies, write_latencies
from trials.evaluation.latency import describe_conditions
from trials.result import TrialResult
from trials.settings import LatencyOptions

TOP = 10  # candidates of each stage


def measure_best(
    directory: SearchDir, stage: int, measure: Measure, log: Callable[[str], None]
) -> None:
    """Measure those of the ten best candidates that have not been measured on this machine.

    A stage with a limit of the latency keeps the latencies that its candidates were chosen by.

    Args:
        directory, stage: Search directory and stage.
        measure: `trials.evaluation.latency.candidate_latency`.
        log: Receives a line about each.
    """
    request = directory.requests()[stage]
    if request.max_latency is not None:
        log(f"stage {stage}: latencies are those of --max-latency ({request.latency_conditions})")
        return
    folder, options = directory.stage_folder(stage), LatencyOptions()
    candidates, conditions = directory.candidates(stage), describe_conditions(options)
    outcomes = directory.outcomes(stage)
    hard = {n: o.hard for n, o in outcomes.items() if isinstance(o, TrialResult)}
    for number in sorted(hard, key=lambda n: (-hard[n], n))[:TOP]:
        architecture, rows = candidates[number], read_latencies(folder)
        if architecture.content_hash in by_hash(rows, conditions):
            continue
        found = measure(architecture, options)
        row = Timed(hash=architecture.content_hash, conditions=conditions, latency=found)
        write_latencies(folder, [*rows, row])
        log(f"stage {stage}, candidate {number}: {found.median_ms:.1f} ms")
