"""`--screen` of `propose`: from the flags to a choice among a pool of candidates."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nas.cli import common
from search_spaces.checks import require_integer
from search_spaces.errors import ConfigError

if TYPE_CHECKING:
    from nas.candidates.pool import Pool
    from search_spaces.architecture import Architecture

DEFAULT_NUM = 64
DEFAULT_POOL = 1000

Keep = Callable[["Pool"], "Sequence[Architecture]"]


def keeping(
    stage: int, options: dict[str, Any], folder: Path, audit: Path | None, *, force: bool
) -> Keep:
    """How candidates are chosen from a pool: all of them, or the best by a proxy.

    Args:
        stage: 1 or 2.
        options: of `propose`; `screen` and `screen_from` are taken out, and `num` becomes the
            size of the pool.
        folder: where the scores are kept.
        audit: a search whose trials must agree with the proxy.
        force: use it whatever they say.

    Raises:
        ConfigError, ScreeningError: the proxy does not exist or may not choose.
    """
    from nas.search.request import LARGEST_POOL, NO_SCREEN

    proxy = options.pop("screen", NO_SCREEN)
    num = require_integer(options.get("num", DEFAULT_NUM), "num", 1)
    size = require_integer(options.pop("screen_from", DEFAULT_POOL), "screen_from", 1, LARGEST_POOL)
    if proxy == NO_SCREEN:
        return lambda pool: pool.architectures
    if size < num:
        raise ConfigError(f"screen_from must be at least num ({num}), got {size}")

    from nas.candidates.proxy_approval import approve
    from nas.candidates.screening import ranked

    approval = approve(proxy, None, stage, audit=audit, force=force)
    options["num"] = size

    def keep(pool: "Pool") -> "Sequence[Architecture]":
        with common.progress_bar(f"screening by {proxy}") as progress:
            ranking = ranked(pool, proxy, folder, progress)
        chosen = ranking[:num]
        best = f"the best {len(chosen)} of {len(ranking)} candidates"
        common.print_note(f"{best} by {approval.describe()}")
        return chosen

    return keep
