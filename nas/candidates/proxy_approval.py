"""Approve a proxy for screening candidates: only one that passed its audit may be used."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from nas.candidates.audit import ProxyAudit, Trial, audit_proxies, finished_trials
from nas.search.directory import SearchDir, find_search_dir
from search_spaces.checks import require_fields
from search_spaces.errors import ConfigError, ScrfdNasError
from search_spaces.files import write_text
from search_spaces.yaml_files import dump_yaml, read_yaml
from trials.proxies.registry import require_proxy

RECORD_FILE = "screening.yaml"  # in the stage's folder


class ScreeningError(ScrfdNasError):
    """A proxy must not be used as a filter."""


@dataclass(frozen=True, kw_only=True)
class Approval:
    """The reason why a proxy may choose among candidates.

    Attributes:
        proxy: name of the proxy.
        forced: whether the user insisted without an audit or against it.
        source: stage and search of the audited trials; empty without an audit.
        audit: figures of the audit (`ProxyAudit.to_dict`); empty without one.
    """

    proxy: str
    forced: bool = False
    source: str = ""
    audit: Mapping[str, Any] = field(default_factory=dict)

    def describe(self) -> str:
        """Return `zen (tau +0.41, +0.12 to +0.63, 24 trials of stage 1 of runs/a)`."""
        forced = "forced, " if self.forced else ""
        if self.audit.get("tau") is None:
            return f"{self.proxy} ({forced}no audit)"
        tau, low, high = (f"{self.audit[key]:+.2f}" for key in ("tau", "low", "high"))
        trials = f"{self.audit['num']} trials of {self.source}"
        return f"{self.proxy} ({forced}tau {tau}, {low} to {high}, {trials})"


def approve(
    proxy: str, directory: SearchDir | None, stage: int, *, audit: Path | None, force: bool
) -> Approval:
    """Approve `proxy` for screening candidates of a stage, or raise.

    The audit is, in this order: of the finished trials of the search in `audit`; the one that
    was recorded in `directory` when the proxy passed there, as trials that it has chosen itself
    are biased; of the finished trials in `directory`.

    Args:
        proxy: name of the proxy.
        directory: the search to be screened; None for `propose`, which has none.
        stage: 1 or 2, in both searches.
        audit: another search directory.
        force: approve whatever the audit says.

    Raises:
        ScreeningError: there is no audit, or its interval is not above 0.
        ConfigError: there is no such proxy, or `audit` holds no search.
    """
    require_proxy(proxy)
    known = None if directory is None or audit else recorded(directory, stage)
    if known is not None and known.proxy == proxy and not known.forced:
        return known
    source = find_search_dir(audit) if audit else directory
    trials = finished_trials(source, stage) if source else []
    found = _audited(proxy, trials)
    if found is not None and found.is_usable:
        return _approval(proxy, found, source, stage, forced=False)
    if not force:
        raise ScreeningError(_refusal(proxy, found, len(trials)))
    return _approval(proxy, found, source, stage, forced=True)


def write_record(
    directory: SearchDir, stage: int, approval: Approval, pool: Mapping[str, int]
) -> None:
    """Write down why a proxy chose the stage's candidates, and from how many."""
    content = {**asdict(approval), "pool": dict(pool)}
    write_text(directory.stage_folder(stage) / RECORD_FILE, dump_yaml(content))


def recorded(directory: SearchDir, stage: int) -> Approval | None:
    """Return the approval of the last screening of a stage. Raises ConfigError if damaged."""
    path = directory.stage_folder(stage) / RECORD_FILE
    if not path.is_file():
        return None
    content = read_yaml(path)
    if isinstance(content, Mapping):
        content = {key: value for key, value in content.items() if key != "pool"}
    values = require_fields(Approval, content, str(path))
    if not isinstance(values.get("audit", {}), Mapping):
        raise ConfigError(f"{path}: audit must be a mapping, got {values['audit']!r}")
    return Approval(**values)


def _audited(proxy: str, trials: Sequence[Trial]) -> ProxyAudit | None:
    try:
        return audit_proxies(trials, [proxy])[0]
    except ConfigError:  # too few to compare anything
        return None


def _approval(
    proxy: str, audit: ProxyAudit | None, source: SearchDir | None, stage: int, *, forced: bool
) -> Approval:
    if audit is None or source is None:
        return Approval(proxy=proxy, forced=forced)
    where = f"stage {stage} of {source}"
    return Approval(proxy=proxy, forced=forced, source=where, audit=audit.to_dict())


def _refusal(proxy: str, audit: ProxyAudit | None, num: int) -> str:
    advice = (
        "finish more trials without --screen, name another search with --screen-audit DIR, "
        "see what `scrfd-nas audit-proxies` says, or insist with --screen-force"
    )
    if audit is None or audit.correlation.tau is None:
        return f"--screen {proxy} has no audit ({num} finished trials to compare with); {advice}"
    found = audit.correlation
    return (
        f"--screen {proxy} did not pass its audit on {found.num} trials: Kendall's tau "
        f"{found.tau:+.2f}, 95 % interval {found.low:+.2f} to {found.high:+.2f} "
        f"({audit.verdict}); {advice}"
    )
