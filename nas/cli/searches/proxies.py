"""`scrfd-nas audit-proxies`: rank correlation of training-free scores with hard AP."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from nas.cli.shared import common, paths, run_flags
from nas.cli.shared.run_flags import Json, SearchDirectory
from nas.search.options import SEARCH_METAVAR
from search_spaces.errors import ConfigError

if TYPE_CHECKING:
    from nas.candidates.audit import ProxyAudit


def audit_proxies(
    search_dir: SearchDirectory = None,
    stage: Annotated[int, typer.Option(min=1, max=2, help="Stage of the trials: 1 or 2.")] = 1,
    proxy: Annotated[
        list[str] | None, typer.Option(help="Score to compare; may be repeated. (default: all)")
    ] = None,
    against: Annotated[
        list[Path] | None,
        typer.Option(
            help="Another search, compared separately; may be repeated.",
            parser=paths.search,
            metavar=SEARCH_METAVAR,
        ),
    ] = None,
    as_json: Json = False,
) -> None:
    """Compare training-free scores with hard AP.

    The trials are the finished ones of a search.

    Kendall's tau is 1 if a score ranks the candidates as training did, and 0 if the ranks are
    unrelated. A score is usable for --screen if its 95 % bootstrap interval is above 0. One of
    nine unrelated scores passes by chance in up to a fifth of all audits.
    """

    directories = [run_flags.opened(search_dir), *map(run_flags.opened, against or ())]
    audits = {}
    for directory in directories:
        if stage not in directory.requests():
            raise ConfigError(f"{directory}: stage {stage} has not begun")
        audits[str(directory)] = _audited(directory, stage, proxy)
    if as_json:
        common.print_json(_document(stage, audits))
        return
    for root, found in audits.items():
        _print(root, stage, found)
    common.print_rich(
        "usable: may be given to --screen; reversed: its opposite may (as in --screen -zen); "
        "more trials narrow the intervals"
    )


def _audited(directory: Any, stage: int, names: Sequence[str] | None) -> "list[ProxyAudit]":
    from nas.candidates import audit
    from trials.proxies.registry import PROXIES

    trials = audit.finished_trials(directory, stage)
    try:
        with common.progress_bar("scores") as progress:
            return audit.audit_proxies(trials, names or PROXIES, progress)
    except ConfigError as error:
        raise ConfigError(f"{directory}: {error}") from error


def _document(stage: int, audits: "Mapping[str, Sequence[ProxyAudit]]") -> dict[str, Any]:
    searches = [
        {"search_dir": root, "proxies": [audit.to_dict() for audit in found]}
        for root, found in audits.items()
    ]
    return {"stage": stage, "searches": searches}


def _print(root: str, stage: int, audits: "Sequence[ProxyAudit]") -> None:
    from trials.proxies.registry import require_proxy

    rows = [
        (
            audit.proxy,
            require_proxy(audit.proxy).about,
            _number(audit.correlation.tau),
            f"{_number(audit.correlation.low)} to {_number(audit.correlation.high)}",
            audit.correlation.num,
            f"{audit.seconds:.2f}",
            audit.verdict,
        )
        for audit in audits
    ]
    columns = ("proxy", "what it is", "tau", "95 % interval", "n", "s each", "verdict")
    trials = audits[0].correlation.num + audits[0].without_score
    common.print_rich(f"{root}: {trials} finished trials of stage {stage}")
    common.print_table(
        "Kendall's tau with hard AP", columns, rows, text_columns=("proxy", "what it is", "verdict")
    )


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:+.2f}"


COMMANDS = {"audit-proxies": audit_proxies}
