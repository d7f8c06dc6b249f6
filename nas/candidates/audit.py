"""Compare scores that are known early (proxies) with the APs of finished trials.

Published correlations of a proxy hold for other tasks, spaces and schedules. Each proxy is
therefore compared with the ranking of this search's own candidates, and is a filter only if its
rank correlation is significantly positive.

A score without information passes by chance 2 to 3 times in 100: in 1,000 simulated searches
each of 6, 8, 10, 16, 24 and 48 trials, the interval was above 0 in 1.7 to 2.8 %.
"""

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from nas.search.directory import SearchDir
from reports.statistics.rank_correlation import LEAST_CANDIDATES, RankCorrelation, rank_correlation
from search_spaces.architecture import Architecture
from search_spaces.errors import ConfigError, TrialError
from search_spaces.randomness import seeded_generator
from trials.proxies.registry import PROXIES, require_proxy, score
from trials.result import TrialResult

LEAST_TRIALS = 5  # three random trials are in the proxy's order 1 time in 6
TOP = 3  # candidates that a user would train to the end
_RESAMPLING = 7  # random stream of the bootstrap

Trial = tuple[Architecture, float]
Progress = Callable[[int, int], None]


@dataclass(frozen=True, kw_only=True)
class ProxyAudit:
    """Comparison of one proxy with finished trials.

    Attributes:
        proxy: name of the proxy.
        about: what its score is.
        correlation: rank correlation of its scores with the hard APs.
        regret: highest hard AP less that of the best among the `TOP` highest scores.
        epochs: epochs of training that a candidate's score takes.
        seconds: mean time of a score without training.
        without_score: number of trials left out because their score is not finite.
    """

    proxy: str
    about: str
    correlation: RankCorrelation
    regret: float | None
    epochs: int = 0
    seconds: float = 0.0
    without_score: int = 0

    @property
    def is_usable(self) -> bool:
        """Whether the whole confidence interval is above 0."""
        low = self.correlation.low
        return self.correlation.num >= LEAST_TRIALS and low is not None and low > 0

    @property
    def verdict(self) -> str:
        """`usable`, or why the proxy is not."""
        if self.is_usable:
            return "usable"
        if self.correlation.num < LEAST_TRIALS:
            return "too few trials"
        if self.correlation.tau is None or self.correlation.high is None:
            return "all equal"
        return "reversed" if self.correlation.high < 0 else "reaches 0"

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON data."""
        return {
            "proxy": self.proxy,
            **asdict(self.correlation),
            "regret": self.regret,
            "epochs": self.epochs,
            "seconds": self.seconds,
            "without_score": self.without_score,
            "verdict": self.verdict,
        }


def audit(
    proxy: str, about: str, scores: Sequence[float | None], hards: Sequence[float], **cost: Any
) -> ProxyAudit:
    """Compare the scores of some candidates with their final hard APs.

    Args:
        proxy, about: name of the proxy, and what its score is.
        scores: one a candidate; None where it is not finite.
        hards: final hard APs of the same candidates.
        cost: `epochs` or `seconds` of the audit.
    """
    pairs = [(score, hard) for score, hard in zip(scores, hards, strict=True) if score is not None]
    kept, values = [score for score, _ in pairs], [hard for _, hard in pairs]
    top = sorted(pairs, key=lambda pair: -pair[0])[:TOP]  # stable: ties in the given order
    return ProxyAudit(
        proxy=proxy,
        about=about,
        correlation=rank_correlation(kept, values, seeded_generator(0, _RESAMPLING)),
        regret=max(hards) - max(hard for _, hard in top) if top else None,
        without_score=len(scores) - len(pairs),
        **cost,
    )


def finished_trials(directory: SearchDir, stage: int) -> list[Trial]:
    """Return architecture and hard AP of the stage's finished trials in the order of numbers.

    Trials that a scheduler stopped are left out: their AP was reached after fewer epochs.
    """
    candidates = directory.candidates(stage)
    outcomes = sorted(directory.outcomes(stage).items())
    return [(candidates[n], o.hard) for n, o in outcomes if isinstance(o, TrialResult)]


def audit_proxies(
    trials: Sequence[Trial], names: Iterable[str] = tuple(PROXIES), progress: Progress | None = None
) -> list[ProxyAudit]:
    """Compare proxies with finished trials. Equal inputs give equal correlations.

    Args:
        trials: architectures and hard APs (see `finished_trials`).
        names: names of the proxies.
        progress: called with the number of scores done and the total.

    Raises:
        ConfigError: there is no such proxy, or there are fewer than three trials.
    """
    proxies = [require_proxy(name).name for name in names]
    if len(trials) < LEAST_CANDIDATES:
        raise ConfigError(
            f"an audit needs at least {LEAST_CANDIDATES} finished trials, got {len(trials)}"
        )
    audits = []
    for number, name in enumerate(proxies):
        before = number * len(trials)

        def report(done: int, before: int = before) -> None:
            if progress:
                progress(before + done, len(proxies) * len(trials))

        audits.append(_audit(name, trials, report))
    return audits


def _audit(name: str, trials: Sequence[Trial], report: Callable[[int], None]) -> ProxyAudit:
    scores, started = [], time.perf_counter()
    for done, (architecture, _) in enumerate(trials, start=1):
        scores.append(score_or_none(name, architecture))
        report(done)
    seconds = (time.perf_counter() - started) / len(trials)
    hards = [hard for _, hard in trials]
    return audit(name, require_proxy(name).about, scores, hards, seconds=seconds)


def score_or_none(name: str, architecture: Architecture) -> float | None:
    """Return the proxy's score; None if it is not finite for this architecture."""
    try:
        return score(name, architecture)
    except TrialError:
        return None
