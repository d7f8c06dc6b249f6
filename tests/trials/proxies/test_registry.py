"""Every proxy is finite, reproducible and free of side effects."""

import math
from dataclasses import replace

import pytest
import torch
from tiny import make_architecture

from search_spaces.errors import ConfigError, TrialError
from search_spaces.zoo import load_zoo, zoo_names
from trials.proxies.probe import finite
from trials.proxies.registry import PROXIES, score

RANDOM = ("zen", "stage_zen", "synflow", "grad_norm")


@pytest.mark.parametrize("name", PROXIES)
@pytest.mark.parametrize(
    "architecture",
    [pytest.param(n, marks=[pytest.mark.slow] if "34g" in n else []) for n in zoo_names()],
)
def test_scores_of_the_published_family_are_finite(name: str, architecture: str) -> None:
    assert math.isfinite(score(name, load_zoo(architecture)))


@pytest.mark.parametrize("name", PROXIES)
@pytest.mark.parametrize("block", ["basic", "bottleneck", "depthwise"])
@pytest.mark.parametrize(("depth", "width"), [(10, 8), (1, 8), (20, 8), (10, 32)])
def test_scores_of_extreme_candidates_are_finite(
    name: str, block: str, depth: int, width: int
) -> None:
    assert math.isfinite(score(name, make_architecture(block, depth, width)))


@pytest.mark.parametrize("name", PROXIES)
def test_a_score_depends_only_on_its_arguments(name: str) -> None:
    candidate = load_zoo("scrfd_0.5g")
    torch.manual_seed(1)
    first = score(name, candidate, seed=5)
    state = torch.random.get_rng_state()
    renamed = replace(candidate, name="other")
    assert score(name, renamed, seed=5) == first
    assert torch.equal(torch.random.get_rng_state(), state)
    assert (score(name, candidate, seed=6) == first) == (name not in RANDOM)
    assert (score(name, candidate, seed=5, image_size=96) == first) == (name not in RANDOM)


def test_the_number_of_threads_is_restored() -> None:
    before = torch.get_num_threads()
    score("zen", make_architecture())
    assert torch.get_num_threads() == before


def test_the_opposite_of_a_proxy_is_its_negative() -> None:
    for name in ("zen", "depth"):
        candidate = make_architecture()
        assert score(f"-{name}", candidate) == -score(name, candidate)
    for name in ("--zen", "-", ""):
        with pytest.raises(ConfigError, match="a proxy is one of"):
            score(name, make_architecture())


def test_unknown_proxies_and_bad_probes_are_refused() -> None:
    candidate = make_architecture()
    with pytest.raises(ConfigError, match=r"one of params, flops, .*, got 'zem'"):
        score("zem", candidate)
    with pytest.raises(ConfigError, match="multiple of 32, got 100"):
        score("zen", candidate, image_size=100)
    with pytest.raises(ConfigError, match="from 64 to 1024, got 32"):
        score("zen", candidate, image_size=32)
    with pytest.raises(ConfigError, match="the seed of a proxy"):
        score("zen", candidate, seed=-1)


def test_scores_that_are_not_finite_are_errors() -> None:
    with pytest.raises(TrialError, match="the zen-score of this network is -inf"):
        score("zen", make_architecture("depthwise", 60, 1))
    for value in (math.inf, math.nan):
        with pytest.raises(TrialError, match=r"zen-score of this network is (inf|nan)"):
            finite(value, "the zen-score")
