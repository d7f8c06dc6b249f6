"""Time of confirming the FLOPs of a candidate with fvcore.

Baseline: `FlopCountAnalysis` on the network with its random initial weights and a 480x640
image. Ours: `nas.candidates.flops.count_flops`, the same counter on an image of 32x64, of which
480x640 is exactly 150 times. Both must give the same totals. The last figure is the mean of 64
stage-1 candidates at 2.5G against the baseline on some of them.
"""

import logging
import warnings

import numpy as np
from _common import arguments, best_of, medians, set_threads, show, verdict

NAMES = ("scrfd_0.5g", "scrfd_2.5g", "scrfd_10g", "scrfd_34g", "resnet_2.5g")


def usual_count(architecture):
    """Return fvcore's total, as in its documentation."""
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
        warnings.simplefilter("ignore")  # fvcore uses torch.jit, which torch deprecates
        from fvcore.nn import FlopCountAnalysis

        return int(FlopCountAnalysis(Flat(), torch.zeros(1, 3, 480, 640)).total())


def single(name, rounds):
    """Print the time of one candidate; return the ratio."""
    from nas.candidates.flops import count_flops
    from search_spaces.zoo import load_zoo

    candidate = load_zoo(name)
    assert usual_count(candidate) == sum(count_flops(candidate).values())
    usual, ours = medians([lambda: usual_count(candidate), lambda: count_flops(candidate)], rounds)
    show(f"{name}: FlopCountAnalysis on a forward at VGA", usual)
    show(f"{name}: nas.candidates.flops.count_flops", ours)
    return usual / ours


def stage(number, sampled):
    """Print the mean time of a stage's candidates; return the ratio."""
    from nas.candidates.flops import count_flops
    from search_spaces.spaces.backbone_ranges import BackboneRanges
    from search_spaces.spaces.backbone_space import BackboneSpace

    space = BackboneSpace.for_budget(2_500_000_000, BackboneRanges.of_family("resnet"))
    candidates = space.sample(np.random.default_rng(0), number).architectures
    some = candidates[:: max(1, number // sampled)][:sampled]
    usual = float(np.mean(medians([lambda a=a: usual_count(a) for a in some], 1)))
    ours = best_of(lambda: [count_flops(candidate) for candidate in candidates], 1) / number
    show(f"FlopCountAnalysis at VGA, mean of {len(some)} stage-1 candidates at 2.5G", usual)
    show(f"nas.candidates.flops.count_flops, mean of {number} in a row", ours)
    return usual / ours


def main(argv=None):
    options = arguments(__doc__).parse_args(argv)
    set_threads(options.threads)
    logging.getLogger("fvcore").setLevel(logging.ERROR)
    names, rounds = (NAMES[:1], 1) if options.quick else (NAMES, options.rounds)
    ratios = [single(name, rounds) for name in names]
    verdict("one candidate (geometric mean)", float(np.exp(np.log(ratios).mean())))
    number, sampled = (2, 1) if options.quick else (64, 8)
    verdict(f"fvcore confirmation, {number} candidates of a stage", stage(number, sampled))


if __name__ == "__main__":
    main()
