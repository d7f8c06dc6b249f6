"""How long does fvcore take to confirm one candidate?

Baseline: the usual way, `FlopCountAnalysis` on the network with its random initial weights
and a 480x640 image. Ours: `nas.flops.count_flops`, the same counter on a network without
weights to draw and on an image of 32x64, of which 480x640 is exactly 150 times. Both must
give the same totals, by part.
"""

import logging
import warnings

import numpy as np
from _common import arguments, medians, set_threads, show, verdict

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


def main(argv=None):
    options = arguments(__doc__).parse_args(argv)
    set_threads(options.threads)
    logging.getLogger("fvcore").setLevel(logging.ERROR)
    from nas.flops import count_flops
    from search_spaces.zoo import load_zoo

    ratios = []
    for name in NAMES[:1] if options.quick else NAMES:
        candidate = load_zoo(name)
        assert usual_count(candidate) == sum(count_flops(candidate).values())
        usual, ours = medians(
            [lambda a=candidate: usual_count(a), lambda a=candidate: count_flops(a)],
            1 if options.quick else options.rounds,
        )
        show(f"{name}: FlopCountAnalysis on a forward at VGA", usual)
        show(f"{name}: nas.flops.count_flops, the same totals", ours)
        ratios.append(usual / ours)
    verdict("fvcore confirmation, geometric mean", float(np.exp(np.log(ratios).mean())), 5)


if __name__ == "__main__":
    main()
