"""Time of proposing the candidates of stage 2 around a template at 2.5G.

Baseline: the algorithm of the reference's generator: draw one depth ratio and one width ratio
for all stages, the widths of neck and head and the convs of the head; build the network with
random weights, run it once on a 480x640 image with counting hooks, keep it if the total and
the ratio of each stage fit. A few draws are timed and multiplied by the 22,800 draws per
acceptance (measured around SCRFD-2.5G).

Ours: `nas.candidates.proposals.propose_stage2`, with every candidate confirmed by fvcore and
including the set-up (listing and counting the feasible set); and the sampling alone.
"""

from dataclasses import replace

import numpy as np
from _common import arguments, best_of, medians, set_threads, show, verdict
from _reference_counter import build_and_count

DRAWS_AN_ACCEPTANCE = 22_800
TARGET = 2_500_000_000


def drawn_networks(template, number):
    """Return networks as the reference draws them around a template."""
    from search_spaces.architecture import Neck

    rng, found = np.random.default_rng(0), []
    while len(found) < number:
        deeper, wider = rng.uniform(0.5, 3, 2)
        neck, head = 8 * rng.integers(1, 17), 8 * rng.integers(1, 33)
        depths = tuple(max(1, round(depth * deeper)) for depth in template.backbone.depths)
        widths = tuple(max(8, round(w * wider) // 8 * 8) for w in template.backbone.widths)
        backbone = replace(
            template.backbone, depths=depths, widths=widths, stem_widths=(widths[0],)
        )
        tower = replace(template.head, convs=int(rng.integers(1, 5)), width=int(head), groups=8)
        found.append(
            replace(template, backbone=backbone, neck=Neck(width=int(neck)), head=tower, name="")
        )
    return found


def main(argv=None):
    options = arguments(
        __doc__, ("--template", {"default": "scrfd_2.5g", "help": "architecture (scrfd_2.5g)"})
    ).parse_args(argv)
    set_threads(options.threads)
    from nas.candidates.proposals import propose_stage2
    from search_spaces.spaces.network_ranges import NetworkRanges
    from search_spaces.spaces.network_space import NetworkSpace
    from search_spaces.zoo import resolve_architecture

    template = resolve_architecture(options.template)
    space = "scaled" if options.quick else "free"
    some = drawn_networks(template, 1 if options.quick else 8)
    one_draw = np.mean(medians([lambda a=a: build_and_count(a) for a in some], 1))
    baseline = one_draw * DRAWS_AN_ACCEPTANCE
    number = 2 if options.quick else 64

    def confirmed():
        propose_stage2(template, TARGET, number, seed=0, stage2_space=space)

    def sampled():
        NetworkSpace(template=template, flops=TARGET, space=space, ranges=NetworkRanges()).sample(
            np.random.default_rng(0), number
        )

    ours, alone = (best_of(run, 1) / number for run in (confirmed, sampled))
    show("baseline: build, forward at VGA, reject; per draw", one_draw)
    show(f"baseline: an accepted proposal ({DRAWS_AN_ACCEPTANCE:,} draws)", baseline)
    show(f"ours ({space}): an accepted, fvcore-confirmed proposal of {number}", ours)
    show(f"ours ({space}): counted and sampled, without fvcore", alone)
    verdict("accepted proposals, counted and sampled only", baseline / alone)
    verdict("accepted proposals, confirmed by fvcore", baseline / ours, 100_000)


if __name__ == "__main__":
    main()
