"""Sources of candidates within a limit of the latency, in place of those without one."""

from dataclasses import replace

from nas.candidates.latency_limit import LatencyLimit, limited_pool
from nas.candidates.pool import Pool
from nas.candidates.proposals import Proposals, confirmed
from nas.monitoring.progress import Display
from nas.run_options import RunOptions
from nas.search.directory import SearchDir
from nas.search.request import AnyRequest
from nas.strategies.on_demand_proposals import Ask
from nas.strategies.shell import Shell
from search_spaces.architecture import Architecture
from trials.evaluation.latency import describe_conditions

LISTED = 4  # candidates that tpe and evolution choose from, for each that is trained


def latency_limit(
    directory: SearchDir, request: AnyRequest, run: RunOptions, display: Display
) -> LatencyLimit | None:
    """Return the limit of the latency of a stage's candidates; None if it has none."""
    if request.max_latency is None:
        return None
    here = describe_conditions(request.latency_options)
    if here != request.latency_conditions:
        display.log(f"latencies are of {request.latency_conditions}; this is {here}")
    return LatencyLimit(
        limit_ms=request.max_latency,
        options=request.latency_options,
        folder=directory.stage_folder(request.stage),
        conditions=request.latency_conditions,
        measure=run.measure,
        show=display.show,
    )


def within_limit(run: RunOptions, limit: LatencyLimit) -> RunOptions:
    """Return options whose `propose` and `strategy` give candidates within the limit only.

    A strategy chooses among `LISTED` times as many candidates as are trained. They are measured
    before any training, since trials that run at the same time would slow the measurements.
    """

    def first(request: AnyRequest, template: Architecture | None, num: int) -> Pool:
        def sample(count: int) -> Pool:
            return run.pool(replace(request, num_candidates=count), template)

        return limited_pool(sample, num, limit)

    def propose(request: AnyRequest, template: Architecture | None) -> Proposals:
        pool = first(request, template, request.num_candidates)
        return confirmed(pool, pool.architectures)

    def strategy(
        request: AnyRequest, template: Architecture | None, shell: Shell | None = None
    ) -> Ask | None:
        if request.strategy == "random":
            return None
        listed = first(request, template, LISTED * request.num_candidates).architectures
        return run.strategy(request, template, Shell(lambda num: listed[:num], len(listed)))

    return replace(run, propose=propose, strategy=strategy)
