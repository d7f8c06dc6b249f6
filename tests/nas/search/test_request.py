"""Options of the stages: what their declarations derive."""

from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pytest

from nas.search.options import parse_latency
from nas.search.request import (
    REQUESTS,
    RedistributionRequest,
    Stage1Request,
    Stage2Request,
    check_comparable,
    common_names,
    inherited_names,
    stage_options,
)
from search_spaces.errors import ConfigError, IncomparableError
from trials.options import option_fields

COMMON: dict[str, Any] = {"flops": 10**9, "data": "/data", "data_fingerprint": "0", "recipe": {}}
TEMPLATE: dict[str, Any] = {"template": "best", "template_hash": "abc"}
FIRST = Stage1Request(**COMMON)
COMPLETE = Stage1Request(**COMMON, scheduler="asha", rungs="complete")
# Options that stages 2 and 3 take from stage 1.
INHERITED = {
    *("flops", "tolerance", "seed", "data", "data_fingerprint", "recipe", "epochs"),
    *("image_size", "precision", "eval_every", "eval_at", "select_on", "retries"),
    "loader_workers",
    *("scheduler", "rungs", "reduction_factor", "grace_epochs", "strategy", "max_gpu_hours"),
    *("max_latency", "latency_on", "latency_threads", "latency_size"),
    *("cpus_per_trial", "gpus_per_trial", "cache", "cache_gb", "storage", "study"),
}
OF_NETWORKS = {"flops", "tolerance", "strategy"}
OF_NETWORKS |= {"max_latency", "latency_on", "latency_threads", "latency_size"}
# Options that a resumed search may change.
CHANGING = {
    *("num_candidates", "data", "loader_workers", "eval_every", "eval_at", "retries"),
    "cpus_per_trial",
    *("gpus_per_trial", "scheduler", "strategy", "warm_start", "screen", "screen_from"),
    *("max_gpu_hours", "cache", "cache_gb", "storage", "study", "latency_conditions"),
}
OF_SHARED_RUNGS = {"reduction_factor", "grace_epochs"}


@pytest.mark.parametrize("stage", REQUESTS)
def test_every_field_declares_its_option(stage: int) -> None:
    cls = REQUESTS[stage]
    assert [item.name for item in option_fields(cls)] == [item.name for item in fields(cls)]


def test_later_stages_inherit_the_options_of_stage_1() -> None:
    assert set(inherited_names(2)) == INHERITED
    assert set(inherited_names(3)) == INHERITED - OF_NETWORKS


def test_both_stages_share_what_decides_a_result() -> None:
    shared = {"flops", "data_fingerprint", "recipe", "epochs", "image_size", "precision"}
    shared |= {"select_on", "rungs"}
    assert set(common_names(FIRST)) == shared
    assert set(common_names(COMPLETE)) == shared | OF_SHARED_RUNGS


@pytest.mark.parametrize(
    ("request_", "changing"),
    [
        (FIRST, CHANGING | OF_SHARED_RUNGS),
        (COMPLETE, CHANGING),
        (Stage2Request(**COMMON, **TEMPLATE), CHANGING | OF_SHARED_RUNGS | {"template"}),
        (RedistributionRequest(**COMMON, **TEMPLATE), CHANGING | OF_SHARED_RUNGS | {"template"}),
    ],
)
def test_a_resumed_search_may_change_some_options(request_: Any, changing: set[str]) -> None:
    assert set(request_.to_dict()) - set(request_.comparable()) == changing


def test_other_options_are_refused_on_resumption() -> None:
    check_comparable(FIRST, replace(FIRST, num_candidates=99, cache="off"), "runs/x")
    with pytest.raises(IncomparableError, match=r"runs/x: .* Different: epochs: 80 -> 3$"):
        check_comparable(FIRST, replace(FIRST, epochs=3), "runs/x")
    other = replace(FIRST, data="/other", data_fingerprint="1")
    with pytest.raises(IncomparableError, match="data: '/data' -> '/other'; data_fingerprint"):
        check_comparable(FIRST, other, Path("runs/x"))


def test_the_options_of_a_stage_are_its_own_first_and_without_computed_ones() -> None:
    names = [item.name for item in stage_options(2)]
    assert names[:4] == ["flops", "template", "stage2_space", "ratio_tolerance"]
    assert names[names.index("recipe") + 1] == "batch_size"
    assert not {"template_hash", "data_fingerprint", "study"} & set(names)


@pytest.mark.parametrize("text", ["4.2ms", "4.2", "0.0042s", " 4.200 MS ", "0.0042 s"])
def test_a_latency_has_milliseconds_or_seconds(text: str) -> None:
    assert parse_latency(text) == 4.2


@pytest.mark.parametrize("text", ["", "0", "0.0ms", "-1", "4,2", "1e3", "4.2us", "ms", "inf", "٤"])
def test_what_is_no_latency_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="a latency is a number above 0 such as"):
        parse_latency(text)


def test_settings_of_a_trial_are_those_of_the_request() -> None:
    request = replace(FIRST, epochs=9, seed=4, select_on="holdout:.10", scheduler="asha")
    settings = request.settings(threads=2)
    assert (settings.epochs, settings.seed, settings.threads) == (9, 4, 2)
    assert (settings.select_on, settings.eval_at, settings.rungs) == ("holdout:0.1", (1, 3), ())


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (
            {"screen": "zen", "screen_from": 3},
            r"screen_from must be at least num_candidates \(64\)",
        ),
        ({"cpus_per_trial": 0}, "cpus_per_trial must be a finite number of at least 0.01, got 0"),
        ({"max_gpu_hours": 0}, "max_gpu_hours must be above 0"),
        ({"max_gpu_hours": float("nan")}, "max_gpu_hours must be"),
        ({"max_gpu_hours": "2"}, "max_gpu_hours must be"),
        ({"scheduler": "median"}, "scheduler 'median' was removed"),
        (
            {"scheduler": "asha", "rungs": "complete", "strategy": "tpe"},
            "chooses candidates one by one",
        ),
        ({"rungs": "half"}, "rungs must be one of"),
        ({"seed": 0.5}, "seed must be an integer of at least 0, got 0.5"),
        ({"flops": 0}, "flops must be an integer of at least 1"),
        ({"flops": 2.5e9}, "flops must be an integer"),
        ({"num_candidates": 0}, "num_candidates must be"),
        ({"tolerance": 1.0}, "tolerance must be between 0 and 1"),
        ({"tolerance": float("nan")}, "tolerance must be between 0 and 1"),
        ({"epochs": 0}, "epochs must be"),
        ({"select_on": "train"}, "select_on must be"),
        ({"recipe": {"momentun": 1}}, "unknown keys"),
        ({"ranges": [1]}, "ranges must be a mapping"),
        ({"max_latency": 0}, "max_latency must be a finite number of at least 1e-06, got 0"),
        ({"max_latency": float("inf")}, "max_latency must be"),
        ({"max_latency": True}, "max_latency must be"),
        ({"latency_on": "tensorrt"}, "latency_on must be one of"),
        ({"latency_threads": 0}, "latency_threads must be"),
        ({"latency_size": [480]}, "the size must be a height and a width"),
    ],
)
def test_values_that_break_a_rule_are_refused(values: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        replace(FIRST, **values)


@pytest.mark.parametrize(
    ("name", "value"), [("strategy", "tpe"), ("warm_start", "x"), ("max_latency", 4.2)]
)
def test_stage_sr_takes_no_option_that_chooses_networks(name: str, value: Any) -> None:
    with pytest.raises(ConfigError, match=f"stage-sr draws recipes, and {name} chooses networks"):
        RedistributionRequest(**COMMON, **TEMPLATE, **{name: value})
