"""Searches of fake trials: `FakeSearch` without Ray, `python -m fake_search stage1 ...` with it."""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import fake_trials
import pandas as pd
from fake_trials import ENTRY, FakeCluster, FakeDisplay, propose

from nas import stage
from nas.search.directory import SearchDir
from nas.search.events import TrialEvent
from nas.stage import RunOptions, Summary, run_stage


def stage1_command(data: Path | str, *more: str, num: int = 3, epochs: int = 2) -> list[str]:
    """Return the arguments of a small stage 1; its default folder is `runs/scrfdgen0.5g`."""
    sizes = ["--num-candidates", str(num), "--epochs", str(epochs), "--image-size", "64"]
    return ["stage1", "--flops", "0.5G", "--data", str(data), *sizes, *more]


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

    def interrupt(self, when: Callable[[TrialEvent], bool], *args: Any, **options: Any) -> None:
        """Begin stage 1, and interrupt it at the first event that fulfils a condition."""

        def subscriber(event: TrialEvent) -> None:
            if when(event):
                raise KeyboardInterrupt

        before, self.options = self.options, {**self.options, "subscribers": [subscriber]}
        try:
            self.begin(*args, **options)
        except KeyboardInterrupt:
            self.options = before
        else:
            raise AssertionError("not interrupted")

    def column(self, name: str, stage: int = 1) -> dict[int, Any]:
        """Return a column of the leaderboard in its order, by candidate."""
        table = pd.read_csv(self.directory.leaderboard_file(stage))
        return dict(zip(table["candidate"], table[name], strict=True))

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
