"""Audits of scores that need training: early epochs, complete short trainings, other trials.

A cheap look at a candidate is worth its epochs only if it ranks candidates as a complete training
does. All scores here come from recorded curves, so their comparison costs nothing.
"""

from collections.abc import Mapping, Sequence

import numpy as np

from nas.candidates.audit import ProxyAudit, audit
from nas.planning.recording import Recording, splice
from nas.strategies.coordinates import Coordinates, Floats
from reports.costs import SHARES, costs
from search_spaces.errors import counted

LEAST_FITTED = 5  # trials, without the one that is predicted
_PENALTY = 1.0  # of the squared weights of standardised features


def trained_proxies(
    recording: Recording,
    short: Sequence[Recording] = (),
    seeds: Mapping[int, Sequence[float]] | None = None,
) -> list[ProxyAudit]:
    """Compare what is known early with the hard AP after the last epoch.

    Args:
        recording: curves of complete trainings.
        short: complete trainings of the same candidates with fewer epochs.
        seeds: hard APs of complete trainings with other seeds, by candidate.

    Returns:
        Audits of each evaluated epoch but the last, of each short training, of a regression on
        the other trials (see `leave_one_out`), and of another seed, which no score can be
        expected to exceed.

    Raises:
        DataError: see `nas.planning.recording.splice`.
    """
    audits = []
    for epoch in recording.evaluated()[:-1]:
        scores = {number: recording.hard[number][epoch] for number in recording.numbers}
        about = f"hard AP after {counted(epoch, 'epoch')} of the {recording.epochs}"
        audits.append(_audit(f"epoch {epoch}", about, scores, recording, epoch))
    for other in sorted(short, key=lambda item: item.epochs):
        whole, _ = splice(recording, [other])
        scores = {number: other.final(number) for number in whole.numbers}
        about = "hard AP after a complete training of so many epochs"
        audits.append(_audit(f"short {other.epochs}", about, scores, whole, other.epochs))
    if len(recording.numbers) > LEAST_FITTED:
        about = "ridge regression on the other trials' widths, depths and FLOPs shares"
        audits.append(_audit("regression", about, leave_one_out(recording), recording, 0))
    repeated = {number: float(np.mean(hards)) for number, hards in (seeds or {}).items() if hards}
    if repeated:
        about = "mean hard AP of the trainings with other seeds (`confirm`)"
        audits.append(_audit("another seed", about, repeated, recording, recording.epochs))
    return audits


def _audit(
    name: str, about: str, scores: Mapping[int, float], recording: Recording, epochs: int
) -> ProxyAudit:
    numbers = [number for number in recording.numbers if number in scores]
    hards = [recording.final(number) for number in numbers]
    return audit(name, about, [scores[number] for number in numbers], hards, epochs=epochs)


def leave_one_out(recording: Recording) -> dict[int, float]:
    """Predict each candidate's final hard AP from the other candidates' by ridge regression.

    The features are those of the strategies (`Coordinates`: logarithms of widths, depths) and the
    shares of the FLOPs, standardised; the penalty is 1. Each prediction is the solution of
    (X'X + I) w = X'(y - mean y) on the other candidates, X being their N - 1 rows.
    """
    architectures = [recording.architectures[number] for number in recording.numbers]
    hards_N = np.array([recording.final(number) for number in recording.numbers])
    points = map(Coordinates.along(architectures).point_of, architectures)
    shares = [[costs(architecture)[name] for name in SHARES] for architecture in architectures]
    rows = [
        [*(point.numbers if point else ()), *share]
        for point, share in zip(points, shares, strict=True)
    ]
    features_NF = np.array(rows, dtype=np.float64)
    predictions = (
        _predicted(np.delete(features_NF, i, 0), np.delete(hards_N, i), features_NF[i])
        for i in range(len(hards_N))
    )
    return dict(zip(recording.numbers, predictions, strict=True))


def _predicted(features_NF: Floats, hards_N: Floats, features_F: Floats) -> float:
    mean_F, spread_F = features_NF.mean(axis=0), features_NF.std(axis=0)
    spread_F[spread_F == 0] = 1.0
    x_NF = (features_NF - mean_F) / spread_F
    gram_FF = x_NF.T @ x_NF + _PENALTY * np.eye(x_NF.shape[1])
    weights_F = np.linalg.solve(gram_FF, x_NF.T @ (hards_N - hards_N.mean()))
    return float(hards_N.mean() + (features_F - mean_F) / spread_F @ weights_F)
