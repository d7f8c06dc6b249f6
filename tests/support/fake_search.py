"""Searches of fake trials: `FakeSearch` without Ray, `python -m fake_search stage1 ...` with it."""

from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import fake_trials
from fake_trials import ENTRY, FakeCluster, FakeDisplay, propose

from nas import stage
from nas.search.directory import SearchDir
from nas.stage import RunOptions, Summary, run_stage


@dataclass
class FakeSearch:
    """A search in `root`, run without Ray and without training.

    Attributes:
        asked: Options of every run's request.
        options: Further fields of `RunOptions`.
        cluster: Executor of the last run.
    """

    root: Path
    data: Path
    name: str = "search"
    asked: dict[str, Any] = field(default_factory=dict)
    options: dict[str, Any] = field(default_factory=dict)
    cluster: FakeCluster = field(default_factory=FakeCluster)
    display: FakeDisplay = field(default_factory=FakeDisplay)

    @property
    def directory(self) -> SearchDir:
        return SearchDir(self.root / self.name)

    def run_options(self, cluster: FakeCluster | None = None, **options: Any) -> RunOptions:
        self.cluster = cluster or FakeCluster()
        given = {"entry": ENTRY, "propose": propose, "connect": self.cluster.connect}
        return RunOptions(**{**given, **self.options, **options})

    def run(self, stage: int = 1, run: RunOptions | None = None, **options: Any) -> Summary:
        """Run a stage with nothing but these options."""
        return run_stage(self.directory, stage, options, run or self.run_options(), self.display)

    def begin(
        self, num_candidates: int = 4, run: RunOptions | None = None, **options: Any
    ) -> Summary:
        """Run stage 1 of three short epochs."""
        given = {"flops": 10**9, "data": str(self.data), "epochs": 3, "image_size": 64}
        given |= {"num_candidates": num_candidates, **self.asked, **options}
        return self.run(1, run, **given)


if __name__ == "__main__":
    from nas.cli.main import main
    from nas.storage import search_storage
    from nas.storage.lease import Times

    search_storage.TIMES = Times(renew_s=1.0, stale_s=6.0, settle_s=0.5, look_s=0.2)
    options = partial(stage.RunOptions, entry=fake_trials.ENTRY, propose=fake_trials.propose)
    stage.RunOptions = options  # type: ignore[misc,assignment]
    main()
