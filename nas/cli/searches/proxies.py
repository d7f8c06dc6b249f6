"""`scrfd-nas audit-proxies`: rank correlation of early scores with hard AP."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from nas.cli.shared import common, paths, run_flags
from nas.cli.shared.run_flags import Json, SearchDirectory
from nas.search.options import SEARCH_METAVAR
from search_spaces.errors import ConfigError, counted

if TYPE_CHECKING:
    from nas.candidates.audit import ProxyAudit


def audit_proxies(
    search_dir: SearchDirectory = None,
    curves: Annotated[
        Path | None, typer.Option(help="CSV file of `simulate --export`, instead of a search.")
    ] = None,
    stage: Annotated[int, typer.Option(min=1, max=2, help="Stage of the trials: 1 or 2.")] = 1,
    proxy: Annotated[
        list[str] | None,
        typer.Option(help="Training-free score to compare; may be repeated. (default: all)"),
    ] = None,
    short: Annotated[
        list[Path] | None,
        typer.Option(
            help="Search, or file of --export, of the same candidates with fewer epochs; may be "
            "repeated."
        ),
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
    """Compare what is known early with hard AP.

    The trials are the finished ones of a search.

    Compared are the training-free scores, each evaluated epoch, complete short trainings
    (--short), a regression on the other trials and, of candidates that `confirm` trained again,
    another seed. Kendall's tau is 1 if a score ranks the candidates as training did, and 0 if the
    ranks are unrelated. A score is usable if its 95 % bootstrap interval is above 0. One of nine
    unrelated scores passes by chance in up to a fifth of all audits.
    """

    first = curves or run_flags.opened(search_dir).root
    others = [run_flags.opened(path).root for path in against or ()]
    audits = {str(first): _audited(first, stage, proxy, short or ())}
    audits |= {str(path): _audited(path, stage, proxy, ()) for path in others}
    if as_json:
        common.print_json(_document(stage, audits))
        return
    for root, found in audits.items():
        _print(root, stage, found)
    common.print_rich(
        "regret: hard AP lost by training only the three with the highest scores\n"
        "usable: a training-free one may be given to --screen; reversed: its opposite may (as in "
        "--screen -zen); more trials narrow the intervals"
    )


def _audited(
    source: Path, stage: int, names: Sequence[str] | None, short: Sequence[Path]
) -> "list[ProxyAudit]":
    from nas.candidates import audit
    from nas.planning.recording import load_recording
    from nas.planning.trained_proxies import trained_proxies
    from nas.search.directory import SearchDir
    from trials.proxies.registry import PROXIES

    recording, _ = load_recording(source, stage)
    directory = SearchDir(source) if source.is_dir() else None
    seeds = {
        number: tuple(directory.hards_by_seed(stage, number).values()) if directory else ()
        for number in recording.numbers
    }
    trials = [(recording.architectures[n], recording.final(n)) for n in recording.numbers]
    trained = trained_proxies(recording, [load_recording(path, stage)[0] for path in short], seeds)
    try:
        with common.progress_bar("scores") as progress:
            return [*audit.audit_proxies(trials, names or PROXIES, progress), *trained]
    except ConfigError as error:
        raise ConfigError(f"{source}: {error}") from error


def _document(stage: int, audits: "Mapping[str, Sequence[ProxyAudit]]") -> dict[str, Any]:
    searches = [
        {"search_dir": root, "proxies": [audit.to_dict() for audit in found]}
        for root, found in audits.items()
    ]
    return {"stage": stage, "searches": searches}


def _print(root: str, stage: int, audits: "Sequence[ProxyAudit]") -> None:
    rows = [
        (
            audit.proxy,
            audit.about,
            counted(audit.epochs, "epoch") if audit.epochs else f"{audit.seconds:.2f} s",
            _number(audit.correlation.tau),
            f"{_number(audit.correlation.low)} to {_number(audit.correlation.high)}",
            "-" if audit.regret is None else f"{audit.regret:.3f}",
            audit.correlation.num,
            audit.verdict,
        )
        for audit in audits
    ]
    columns = ("proxy", "what it is", "cost", "tau", "95 % interval", "regret", "n", "verdict")
    trials = audits[0].correlation.num + audits[0].without_score
    common.print_rich(f"{root}: {trials} finished trials of stage {stage}")
    common.print_table(
        "Kendall's tau with hard AP", columns, rows, text_columns=("proxy", "what it is", "verdict")
    )


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:+.2f}"


COMMANDS = {"audit-proxies": audit_proxies}
