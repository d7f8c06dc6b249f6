"""Audits of early epochs, short trainings, the regression and other seeds."""

from dataclasses import replace

import numpy as np
import pytest
from fake_recordings import NINE, constant, make_recording

from nas.candidates.audit import ProxyAudit, audit
from nas.planning.recording import Recording
from nas.planning.trained_proxies import leave_one_out, trained_proxies
from reports.costs import SHARES, costs
from search_spaces.errors import DataError

# Epoch 1 ranks the four candidates the other way round, epoch 2 as the last one does.
CROSSING = make_recording({n: {1: 0.5 - 0.1 * n, 2: 0.05 * n, 4: 0.1 * n} for n in range(1, 5)})


def found_by_name(recording: Recording, **more: object) -> dict[str, ProxyAudit]:
    return {found.proxy: found for found in trained_proxies(recording, **more)}  # type: ignore[arg-type]


def test_evaluated_epochs_but_the_last_are_compared_with_their_cost() -> None:
    found = found_by_name(CROSSING)
    assert list(found) == ["epoch 1", "epoch 2"]  # four trials are too few for a regression
    assert [item.correlation.tau for item in found.values()] == [-1.0, 1.0]
    assert [item.epochs for item in found.values()] == [1, 2]


def test_regret_is_what_the_three_highest_scores_lose() -> None:
    found = found_by_name(CROSSING)
    assert found["epoch 1"].regret == pytest.approx(0.1)  # 1, 2 and 3 instead of 4
    assert found["epoch 2"].regret == 0.0


def test_a_candidate_without_a_score_counts_for_regret_and_not_for_tau() -> None:
    found = audit("name", "about", [1.0, 2.0, 3.0, None], [0.1, 0.2, 0.3, 0.5], seconds=2.0)
    assert (found.correlation.num, found.correlation.tau) == (3, 1.0)
    assert (found.regret, found.without_score, found.seconds) == (pytest.approx(0.2), 1, 2.0)
    assert audit("name", "about", [None], [0.1]).regret is None


def test_short_trainings_are_compared_from_the_shortest() -> None:
    short = [constant([0.4, 0.3, 0.2], epochs=3), constant([0.1, 0.2, 0.3], epochs=1)]
    found = found_by_name(CROSSING, short=short)
    assert list(found)[2:] == ["short 1", "short 3"]
    assert [found[name].correlation.num for name in ("short 1", "short 3")] == [3, 3]
    assert (found["short 1"].correlation.tau, found["short 3"].correlation.tau) == (1.0, -1.0)
    with pytest.raises(DataError, match="must be shorter"):
        trained_proxies(CROSSING, [constant([0.1, 0.2, 0.3], epochs=4)])


def test_another_seed_is_the_mean_of_the_repeated_trainings() -> None:
    seeds = {1: (0.2, 0.4), 2: (0.1,), 3: (0.5,), 4: (), 9: (0.1,)}
    found = found_by_name(CROSSING, seeds=seeds)["another seed"]
    assert (found.correlation.num, found.epochs) == (3, 4)
    assert found.correlation.tau == pytest.approx(1 / 3)  # 0.3, 0.1, 0.5: one pair of three turned
    assert "another seed" not in found_by_name(CROSSING, seeds={1: ()})


def test_regression_predicts_each_candidate_from_the_others() -> None:
    # NINE differs in the depth of one stage, and AP rises with it: the order is found.
    predicted = leave_one_out(NINE)
    assert sorted(predicted, key=predicted.__getitem__) == list(NINE.numbers)
    # The own AP of a candidate must not enter its prediction.
    hard = {**NINE.hard, 4: {9: 0.99}}
    changed = leave_one_out(replace(NINE, hard=hard))
    assert changed[4] == pytest.approx(predicted[4])
    assert changed[5] > predicted[5]


def test_regression_is_the_ridge_solution() -> None:
    """The textbook formula with the weights of N - 1 rows, in its dual form."""
    recording = constant([0.3, 0.1, 0.4, 0.1, 0.5, 0.9])
    depth = [(n - 1) / 5 for n in range(1, 7)]  # the only number that differs
    shares = [[costs(recording.architectures[n])[s] for s in SHARES] for n in range(1, 7)]
    features = np.column_stack([depth, shares])
    x, y = features[1:], np.array([recording.final(n) for n in range(2, 7)])
    scale = np.where(x.std(axis=0) == 0, 1, x.std(axis=0))
    z, z0 = (x - x.mean(axis=0)) / scale, (features[0] - x.mean(axis=0)) / scale
    dual = z0 @ z.T @ np.linalg.inv(z @ z.T + np.eye(5)) @ (y - y.mean()) + y.mean()
    assert leave_one_out(recording)[1] == pytest.approx(dual)
