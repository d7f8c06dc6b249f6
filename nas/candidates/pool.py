"""What a stage may try: distinct candidates of its space, by the closed form alone."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from nas.candidates.space_plugins import BUILT_IN, sample_plugged
from nas.search.request import AnyRequest, Stage1Request, Stage2Request
from search_spaces.architecture import Architecture
from search_spaces.checks import require_integer
from search_spaces.cost.constraints import Window, flops_window
from search_spaces.errors import ConfigError
from search_spaces.randomness import seeded_generator
from search_spaces.spaces.backbone_ranges import BackboneRanges
from search_spaces.spaces.backbone_space import BackboneSpace
from search_spaces.spaces.neck_and_head import family_for
from search_spaces.spaces.network_ranges import NetworkRanges
from search_spaces.spaces.network_space import NetworkSpace
from search_spaces.spaces.sample import Sample


@dataclass(frozen=True, kw_only=True)
class Pool:
    """Candidates as they were sampled; `nas.candidates.proposals` confirms them by fvcore.

    Attributes:
        sample: the candidates.
        window: the least and the greatest FLOPs accepted.
    """

    sample: Sample
    window: Window

    @property
    def architectures(self) -> tuple[Architecture, ...]:
        """All candidates."""
        return self.sample.architectures

    @property
    def note(self) -> str | None:
        """What the user should be told."""
        return self.sample.note


def sample_pool(request: AnyRequest, template: Architecture | None = None) -> Pool:
    """The candidates that a stage's request asks for; `template` for stage 2 only.

    Raises:
        ConfigError, InfeasibleError: see `stage1_pool` and `stage2_pool`.
    """
    if isinstance(request, Stage1Request):
        return stage1_pool(
            request.flops,
            request.num_candidates,
            request.seed,
            space=request.space,
            tolerance=request.tolerance,
            ranges=request.ranges,
        )
    if template is None or not isinstance(request, Stage2Request):
        raise ConfigError("stage 2 needs a template architecture, got none")
    return stage2_pool(
        template,
        request.flops,
        request.num_candidates,
        request.seed,
        stage2_space=request.stage2_space,
        ratio_tolerance=request.ratio_tolerance,
        tolerance=request.tolerance,
        ranges=request.ranges,
    )


def stage1_pool(
    flops: int,
    num: int,
    seed: int,
    *,
    space: str = "auto",
    tolerance: float = 0.02,
    ranges: Mapping[str, Any] | None = None,
) -> Pool:
    """Step 1: `num` backbones under the neck and head of the budget.

    Asking for more with the same seed begins with the same candidates.

    Args:
        flops: budget in multiply-adds at 480x640.
        num: candidates wanted; fewer come back if there are no more (see `note`).
        seed: of the sampling.
        space: `auto`, `mobile`, `resnet`, or a plug-in's name (`nas.candidates.space_plugins`).
        tolerance: relative deviation from the budget.
        ranges: changes to fields of `BackboneRanges`; a plug-in's as it likes.

    Raises:
        ConfigError: a value breaks a rule.
        InfeasibleError: no architecture satisfies the constraints.
    """
    _check(flops, num, seed, tolerance)
    window, changes = flops_window(flops, tolerance), _changes(ranges)
    generator = seeded_generator(seed, purpose=1)
    if space in BUILT_IN:
        drawn_from = BackboneRanges.of_family(family_for(space, flops), **changes)
        sample = BackboneSpace.for_budget(flops, drawn_from, tolerance).sample(generator, num)
    else:
        sample = sample_plugged(
            space, generator, num, flops=flops, tolerance=tolerance, ranges=changes
        )
    return Pool(sample=sample, window=window)


def stage2_pool(
    template: Architecture,
    flops: int,
    num: int,
    seed: int,
    *,
    stage2_space: str = "free",
    ratio_tolerance: float = 0.1,
    tolerance: float = 0.02,
    ranges: Mapping[str, Any] | None = None,
) -> Pool:
    """Step 2: `num` networks around `template`, uniform among all that satisfy the constraints.

    The template itself is a candidate only if it is drawn (and a member: its GroupNorm
    groups must be those of the rule). See `stage1_pool` for what is not said here.

    Args:
        stage2_space: `free` or `scaled` (see `search_spaces.spaces.network_space`).
        ratio_tolerance: on each stage's FLOPs relative to the stem's.
        ranges: changes to fields of `NetworkRanges`.

    Raises:
        ConfigError: a value breaks a rule.
        InfeasibleError: no architecture satisfies the constraints.
    """
    _check(flops, num, seed, tolerance)
    networks = NetworkSpace(
        template=template,
        flops=flops,
        space=stage2_space,
        ratio_tolerance=ratio_tolerance,
        tolerance=tolerance,
        ranges=NetworkRanges.changed(_changes(ranges)),
    )
    sample = networks.sample(seeded_generator(seed, purpose=2), num)
    return Pool(sample=sample, window=networks.window)


def _check(flops: int, num: int, seed: int, tolerance: float) -> None:
    flops_window(flops, tolerance)
    require_integer(num, "the number of candidates", 1)
    require_integer(seed, "the seed", 0)


def _changes(ranges: Mapping[str, Any] | None) -> dict[str, Any]:
    if ranges is not None and not isinstance(ranges, Mapping):
        raise ConfigError(f"ranges must be a mapping, got {type(ranges).__name__}")
    return {str(name): value for name, value in (ranges or {}).items()}
