"""How long does fvcore take to confirm one candidate?

Baseline: the usual way, `FlopCountAnalysis` on the network with its random initial weights
and a 480x640 image. Ours: `nas.candidates.flops.count_flops`, the same counter, asked once for each
distinct call of a torch function that the network's forward makes, with an image of 32x64, of
which 480x640 is exactly 150 times. Both must give the same totals.

A single candidate is counted with nothing remembered (cold) and once more (remembered). What
a search pays lies between: the last figure is 64 candidates of one stage in a row, the first
of them cold, against the baseline on some of them.
"""

import logging
import warnings

import numpy as np
from _common import arguments, best_of, medians, set_threads, show, verdict

NAMES = ("scrfd_0.5g", "scrfd_2.5g", "scrfd_10g", "scrfd_34g", "resnet_2.5g")


def usual_count(architecture):
    """fvcore's total, as its documentation has it."""
    import torch

    from search_spaces.network.detector import build_detector

    model = build_detector(architecture, torch.Generator().manual_seed(0)).eval()

    class Flat(torch.nn.Module):  # a trace returns tensors only
        def __init__(self):
            super().__init__()
            self.model = model

        def forward(self, images):
            outputs = self.model(images)
            return (*outputs.scores, *outputs.boxes)

    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # fvcore leans on torch.jit, which torch deprecates
        from fvcore.nn import FlopCountAnalysis

        return int(FlopCountAnalysis(Flat(), torch.zeros(1, 3, 480, 640)).total())


def single(name, rounds):
    """Prints what one candidate takes; returns the ratios cold and remembered."""
    from nas.candidates.call_counting import forget_counts
    from nas.candidates.flops import count_flops
    from search_spaces.zoo import load_zoo

    candidate = load_zoo(name)
    assert usual_count(candidate) == sum(count_flops(candidate).values())

    def cold():
        forget_counts()
        count_flops(candidate)

    runs = [lambda: usual_count(candidate), cold, lambda: count_flops(candidate)]
    usual, fresh, again = medians(runs, rounds)
    show(f"{name}: FlopCountAnalysis on a forward at VGA", usual)
    show(f"{name}: nas.candidates.flops.count_flops, cold", fresh)
    show(f"{name}: nas.candidates.flops.count_flops, remembered", again)
    return usual / fresh, usual / again


def stage(number, sampled):
    """Prints what a candidate of a stage takes; returns the ratio."""
    from nas.candidates.call_counting import forget_counts
    from nas.candidates.flops import count_flops
    from search_spaces.spaces.backbone_ranges import BackboneRanges
    from search_spaces.spaces.backbone_space import BackboneSpace

    space = BackboneSpace.for_budget(2_500_000_000, BackboneRanges.of_family("resnet"))
    candidates = space.sample(np.random.default_rng(0), number).architectures
    some = candidates[:: max(1, number // sampled)][:sampled]
    usual = float(np.mean(medians([lambda a=a: usual_count(a) for a in some], 1)))

    def whole_stage():
        forget_counts()
        for candidate in candidates:
            count_flops(candidate)

    ours = best_of(whole_stage, 1) / number
    show(f"FlopCountAnalysis, mean of {len(some)} step-1 candidates at 2.5G", usual)
    show(f"nas.candidates.flops.count_flops, mean of {number} in a row", ours)
    return usual / ours


def main(argv=None):
    options = arguments(__doc__).parse_args(argv)
    set_threads(options.threads)
    logging.getLogger("fvcore").setLevel(logging.ERROR)
    names, rounds = (NAMES[:1], 1) if options.quick else (NAMES, options.rounds)
    ratios = np.array([single(name, rounds) for name in names])
    cold, again = np.exp(np.log(ratios).mean(axis=0))
    verdict("one candidate, nothing remembered (geometric mean)", float(cold))
    verdict("one candidate, remembered (geometric mean)", float(again))
    number, sampled = (2, 1) if options.quick else (64, 8)
    verdict(f"fvcore confirmation, {number} candidates of a stage", stage(number, sampled), 5)


if __name__ == "__main__":
    main()
