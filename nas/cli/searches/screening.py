"""Choice of candidates by a training-free score, for `propose --screen`."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nas.cli.shared import common
from nas.cli.shared.run_flags import RunFlags
from nas.search.request import LARGEST_POOL, NO_SCREEN
from search_spaces.checks import require_integer
from search_spaces.errors import ConfigError

if TYPE_CHECKING:
    from nas.candidates.pool import Pool
    from search_spaces.architecture import Architecture


@dataclass(frozen=True, kw_only=True)
class Screen:
    """Choice of the candidates of a pool.

    Attributes:
        num: number of candidates to choose.
        pool_size: number of candidates to choose from.
        proxy: score that chooses; None: the whole pool is chosen.
        approval: one line on the audit that allows the score to choose.
    """

    num: int
    pool_size: int
    proxy: str | None = None
    approval: str = ""

    def choose(self, pool: "Pool", folder: Path) -> "Sequence[Architecture]":
        """Return the candidates chosen; their scores are kept in `folder`."""
        if self.proxy is None:
            return pool.architectures
        from nas.candidates.screening import ranked

        with common.progress_bar(f"screening by {self.proxy}") as progress:
            ranking = ranked(pool, self.proxy, folder, progress)
        chosen = ranking[: self.num]
        counts = f"the best {len(chosen)} of {len(ranking)} candidates"
        common.print_note(f"{counts} by {self.approval}")
        return chosen


def read_screen(stage: int, values: Mapping[str, Any], run: RunFlags) -> Screen:
    """Return the choice that the options of `propose` ask for.

    Raises:
        ConfigError, ScreeningError: the score does not exist, or its audit does not allow it to
            choose.
    """
    num = require_integer(values["num_candidates"], "num_candidates", 1)
    size = require_integer(values["screen_from"], "screen_from", 1, LARGEST_POOL)
    proxy = values["screen"]
    if proxy == NO_SCREEN:
        return Screen(num=num, pool_size=num)
    if size < num:
        raise ConfigError(f"screen_from must be at least num_candidates ({num}), got {size}")

    from nas.candidates.proxy_approval import approve

    approval = approve(proxy, None, stage, audit=run.screen_audit, force=run.screen_force)
    return Screen(num=num, pool_size=size, proxy=proxy, approval=approval.describe())
