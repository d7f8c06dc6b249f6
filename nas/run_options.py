"""How a stage is run now, apart from what it was asked for."""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from nas.candidates.pool import Pool, sample_pool
from nas.candidates.proposals import propose
from nas.recorder import Watch, watch_nothing
from nas.running import cluster
from nas.running.cluster import Cluster
from nas.search.request import AnyRequest
from nas.strategies.on_demand_proposals import Ask, asking
from search_spaces.architecture import Architecture


class Proposed(Protocol):
    """What a source of candidates hands over (see `nas.candidates.proposals.Proposals`)."""

    @property
    def architectures(self) -> Sequence[Architecture]:
        """Distinct candidates; asking for more begins with the same ones."""

    @property
    def note(self) -> str | None:
        """What the user should be told."""


Propose = Callable[[AnyRequest, Architecture | None], Proposed]
# How candidates are asked for on demand; None where they are all proposed up front.
Strategy = Callable[[AnyRequest, Architecture | None], Ask | None]
Pooling = Callable[[AnyRequest, Architecture | None], Pool]
Connect = Callable[[str | None], AbstractContextManager[Cluster]]


@dataclass(frozen=True, kw_only=True)
class RunOptions:
    """How a stage is run now; nothing of it is part of the request.

    Attributes:
        address: of a Ray cluster; None: this machine.
        retry_failed: give failed trials another chance.
        entry: what runs one trial (see `TrialTask`).
        screen_audit: a search whose trials must speak for the proxy of `--screen`.
        screen_force: let it choose whatever they say.
        propose, pool, strategy, connect: where candidates and machines come from.
        watch: hears of every event of a trial when it is recorded. What it raises ends the
            run, whose trials can be continued.
        track: where trials are shown, besides (`nas.recording.tracking.TRACKERS`); None: nowhere.
    """

    address: str | None = None
    retry_failed: bool = False
    screen_audit: Path | None = None
    screen_force: bool = False
    entry: str = "trials.run:advance_trial"
    propose: Propose = propose
    pool: Pooling = sample_pool
    strategy: Strategy = asking
    connect: Connect = cluster.connected
    watch: Watch = watch_nothing
    track: str | None = None
