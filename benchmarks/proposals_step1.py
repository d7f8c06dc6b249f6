"""Time of proposing the candidates of stage 1 at 2.5G.

Baseline: the algorithm of the reference's generator: draw a backbone, build its network with
random weights, run it once on a 480x640 image with counting hooks, keep it if its FLOPs are
within 2 % of the target. A few draws are timed and multiplied by the 141 draws per acceptance
(measured for the reference's space with the same window).

Ours: `nas.candidates.proposals.propose_stage1`, with every candidate confirmed by fvcore and
including the set-up (counting the feasible set); and the closed form alone, with rejection.
"""

import numpy as np
from _common import arguments, best_of, medians, seconds, set_threads, show, verdict
from _reference_counter import build_and_count

DRAWS_AN_ACCEPTANCE = 141
TARGET = 2_500_000_000


def drawn_architectures(space, number):
    """Return the first drawn residual backbones with valid widths and any FLOPs."""
    from search_spaces.architecture import Architecture, Backbone
    from search_spaces.spaces.backbone_draws import draw

    draws = draw(space.ranges, np.random.default_rng(0), 4 * number + 16)
    valid = ((draws.chain >= 8) & (draws.chain <= 4096)).all(axis=1)
    found = []
    for row in np.flatnonzero(valid)[:number].tolist():
        widths = draws.chain[row].tolist()
        backbone = Backbone(
            block=space.ranges.blocks[int(draws.blocks[row])],
            stem_widths=(widths[0],),
            depths=tuple(draws.depths[row].tolist()),
            widths=tuple(widths),
        )
        found.append(Architecture(backbone=backbone, neck=space.neck, head=space.head))
    return found


def closed_form_rate(space, draws):
    """Return seconds and draws per accepted draw of the closed form."""
    from search_spaces.spaces.backbone_draws import draw

    generator = np.random.default_rng(0)
    accepted = []

    def run():
        accepted.append(int(space.accepts(draw(space.ranges, generator, draws)).sum()))

    taken = best_of(run, 3)
    mean = max(np.mean(accepted), 1e-9)
    return taken / mean, draws / mean


def main(argv=None):
    options = arguments(
        __doc__,
        ("--candidates", {"type": int, "default": 64, "help": "candidates to propose (64)"}),
    ).parse_args(argv)
    set_threads(options.threads)
    from nas.candidates.proposals import propose_stage1
    from search_spaces.spaces.backbone_ranges import BackboneRanges
    from search_spaces.spaces.backbone_space import CHUNK, BackboneSpace

    space = BackboneSpace.for_budget(TARGET, BackboneRanges.of_family("resnet"))
    some = drawn_architectures(space, 1 if options.quick else 6)
    one_draw = np.mean(medians([lambda a=a: build_and_count(a) for a in some], 1))
    baseline = one_draw * DRAWS_AN_ACCEPTANCE
    number = 2 if options.quick else options.candidates
    ours = seconds(lambda: propose_stage1(TARGET, number, seed=0)) / number
    alone, draws = closed_form_rate(space, CHUNK)
    show("baseline: build, forward at VGA, reject; per draw", one_draw)
    show(f"baseline: an accepted proposal ({DRAWS_AN_ACCEPTANCE} draws)", baseline)
    show(f"ours: an accepted, fvcore-confirmed proposal of {number}", ours)
    show(f"ours: closed form alone, accepted ({draws:.0f} draws each)", alone)
    verdict("accepted proposals, confirmed by fvcore", baseline / ours, 1_000)
    verdict("accepted proposals, closed form alone", baseline / alone, 1_000_000)


if __name__ == "__main__":
    main()
