"""Sample distinct candidates of a stage's space, with FLOPs by the closed form only."""

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
    """Sampled candidates, which `nas.candidates.proposals` confirms by fvcore.

    Attributes:
        sample: the candidates.
        window: least and greatest accepted FLOPs.
    """

    sample: Sample
    window: Window

    @property
    def architectures(self) -> tuple[Architecture, ...]:
        """All candidates."""
        return self.sample.architectures

    @property
    def note(self) -> str | None:
        """Message for the user, such as fewer candidates than requested."""
        return self.sample.note


@dataclass(frozen=True, kw_only=True)
class Stage2Options:
    """Options of the stage-2 space.

    Attributes:
        stage2_space: `free` or `scaled` (see `search_spaces.spaces.network_space`).
        ratio_tolerance: relative deviation of each backbone stage's share of FLOPs to the stem's.
        tolerance: relative deviation from the FLOPs target.
        ranges: changes to fields of `NetworkRanges`.
    """

    stage2_space: str = "free"
    ratio_tolerance: float = 0.1
    tolerance: float = 0.02
    ranges: Mapping[str, Any] | None = None


def sample_pool(request: AnyRequest, template: Architecture | None = None) -> Pool:
    """Return the candidates of a stage's request; `template` is for stage 2 only.

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
    options = Stage2Options(
        stage2_space=request.stage2_space,
        ratio_tolerance=request.ratio_tolerance,
        tolerance=request.tolerance,
        ranges=request.ranges,
    )
    return stage2_pool(template, request.flops, request.num_candidates, request.seed, options)


def stage1_pool(
    flops: int,
    num: int,
    seed: int,
    *,
    space: str = "auto",
    tolerance: float = 0.02,
    ranges: Mapping[str, Any] | None = None,
) -> Pool:
    """Sample `num` networks of stage 1: backbones with the neck and head of the budget.

    A larger `num` with the same seed gives the same candidates first.

    Args:
        flops: budget in multiply-adds at 480x640.
        num: number of candidates; fewer are returned if there are no more (see `Pool.note`).
        seed: seed of the sampling.
        space: `auto`, `mobile`, `resnet`, or a plug-in's name (`nas.candidates.space_plugins`).
        tolerance: relative deviation from the budget.
        ranges: changes to fields of `BackboneRanges`, or whatever a plug-in accepts.

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
    options: Stage2Options | None = None,
) -> Pool:
    """Sample `num` networks of stage 2, uniformly from all that satisfy the constraints.

    The template itself is a candidate only if it is drawn (and is in the space: its GroupNorm
    groups must follow the rule). See `stage1_pool` for the other arguments.

    Args:
        template: the network that bounds widths and depths and fixes the FLOPs ratios.

    Raises:
        ConfigError: a value breaks a rule.
        InfeasibleError: no architecture satisfies the constraints.
    """
    options = options or Stage2Options()
    _check(flops, num, seed, options.tolerance)
    networks = NetworkSpace(
        template=template,
        flops=flops,
        space=options.stage2_space,
        ratio_tolerance=options.ratio_tolerance,
        tolerance=options.tolerance,
        ranges=NetworkRanges.changed(_changes(options.ranges)),
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
