"""Options about one run of a stage, apart from its request."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from nas.candidates.latency_limit import Measure
from nas.candidates.pool import Pool, sample_pool
from nas.candidates.proposals import propose
from nas.running.cluster import Cluster, connected
from nas.running.nodes import choose_resources
from nas.running.preflight import check_nodes
from nas.running.tasks import Resources
from nas.search.directory import SearchDir
from nas.search.events import Subscriber
from nas.search.request import AnyRequest
from nas.strategies.on_demand_proposals import Ask, asking
from nas.strategies.shell import Shell
from search_spaces.architecture import Architecture
from trials.evaluation.latency import candidate_latency


class Proposed(Protocol):
    """Candidates from a source such as `nas.candidates.proposals.propose`."""

    @property
    def architectures(self) -> Sequence[Architecture]:
        """Distinct candidates; a request for more begins with the same ones."""

    @property
    def note(self) -> str | None:
        """Remark for the user."""


class Strategy(Protocol):
    """Source of candidates that are chosen on demand, as `nas.strategies.on_demand_proposals`."""

    def __call__(
        self, request: AnyRequest, template: Architecture | None, shell: Shell | None = None
    ) -> Ask | None:
        """Return how they are chosen (from `shell`); None where all are proposed at the start."""


Propose = Callable[[AnyRequest, Architecture | None], Proposed]
Pooling = Callable[[AnyRequest, Architecture | None], Pool]
Connect = Callable[[str | None], AbstractContextManager[Cluster]]


@dataclass(frozen=True, kw_only=True)
class RunOptions:
    """Options about one run of a stage; none of them is part of the request.

    Attributes:
        address: Address of a Ray cluster; None: this machine.
        retry_failed: Whether failed trials are trained again.
        on_event: Command that receives the events (`nas.recording.event_hooks`), if any.
        track: Tracker that shows the trials (`nas.recording.tracking.TRACKERS`), if any.
        screen_audit: Search whose trials must support the proxy of `--screen`.
        screen_force: Whether the proxy chooses even if they do not.
        entry: Function that runs one trial (see `TrialTask`).
        propose, pool, strategy, connect: Sources of candidates and machines.
        measure: Measures the latency of a candidate.
        subscribers: Further subscribers of the events. An exception of theirs ends the run,
            which can be continued.
    """

    address: str | None = None
    retry_failed: bool = False
    on_event: str | None = None
    track: str | None = None
    screen_audit: Path | None = None
    screen_force: bool = False
    entry: str = "trials.run:advance_trial"
    propose: Propose = propose
    pool: Pooling = sample_pool
    strategy: Strategy = asking
    connect: Connect = connected
    measure: Measure = candidate_latency
    subscribers: Sequence[Subscriber] = ()

    @contextmanager
    def cluster(
        self, directory: SearchDir, request: AnyRequest, num_trials: int
    ) -> Iterator[tuple[Cluster, Resources]]:
        """Connect to Ray; yields the cluster and the resources of each trial.

        Raises:
            ConfigError: There is no cluster, or no machine of it can hold a trial.
            DataError: A machine of the cluster does not see the data or the search directory.
        """
        with self.connect(self.address) as cluster:
            resources = choose_resources(cluster.nodes, request, num_trials)
            if self.address is not None:
                check_nodes(cluster.nodes, resources, request, directory)
            yield cluster, resources
