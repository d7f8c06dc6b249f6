"""Made-up searches as plain data."""

from collections.abc import Sequence
from typing import Any

from tiny import make_architecture, make_result

from reports.curves import Curve
from reports.search_data import CandidateData, StageData
from search_spaces.architecture import Architecture
from trials.result import Outcome, TrialFailure, TrialStopped

Made = float | str | tuple[int, float] | None
REQUEST = {
    "flops": 500_000_000,
    "epochs": 4,
    "image_size": 64,
    "seed": 0,
    "data": "/data/faces",
    "data_fingerprint": "0123456789abcdef",
}
RECORD = {"created": "2026-01-02T03:04:05+0000", "versions": {"python": "3.11.7"}}


def architecture(number: int) -> Architecture:
    """Return a network whose share of C5 grows with the number."""
    return make_architecture(depths=(1, 1, 1, number), widths=(8, 8, 8, 32))


def outcome(made: Made) -> Outcome | None:
    """Return an outcome: float finished, text failed, (epoch, AP) stopped, None waiting."""
    if isinstance(made, float):
        return make_result(made, epochs=4, duration_s=90.0)
    if isinstance(made, str):
        return TrialFailure(reason=made, kind="data", epoch=2, attempts=2)
    if made is None:
        return None
    return TrialStopped(epoch=made[0], epochs=4, hard=made[1], reason="stopped by asha")


def make_candidate(number: int, made: Made, curve: dict[int, float] | None = None) -> CandidateData:
    """Return a candidate with the outcome that `outcome` makes, and its curve of hard APs."""
    network = architecture(number)
    known = None
    if curve is not None:
        losses = {epoch: 2.0 / epoch for epoch in curve}
        known = Curve(candidate=number, architecture=network, hard=curve, loss=losses)
    found = outcome(made)
    epochs = {"finished": 4, "failed": 1, "stopped": 2}[found.state] if found else 0
    return CandidateData(
        candidate=number, architecture=network, outcome=found, curve=known, epochs=epochs
    )


def make_stage(made: Sequence[Made | CandidateData], stage: int = 1, **more: Any) -> StageData:
    """Return a stage of candidates from 1 on, each given or made by `outcome`."""
    candidates = tuple(
        item if isinstance(item, CandidateData) else make_candidate(number, item)
        for number, item in enumerate(made, start=1)
    )
    values: dict[str, Any] = {"request": REQUEST, "record": RECORD, **more}
    return StageData(stage=stage, candidates=candidates, **values)
