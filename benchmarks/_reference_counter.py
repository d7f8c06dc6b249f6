"""FLOPs of a candidate as the reference's generator counts them: a forward pass with hooks."""


def forward_counter(model):
    """Add counting hooks to every convolution and norm; return the dict that they update."""
    from torch import nn

    counts = {"flops": 0}

    def count(module, inputs, output):
        if isinstance(module, nn.Conv2d):
            fan_in = module.weight[0].numel()
            counts["flops"] += output.numel() * fan_in
        else:
            counts["flops"] += 2 * output.numel()

    for module in model.modules():
        if isinstance(module, nn.Conv2d | nn.BatchNorm2d | nn.GroupNorm):
            module.register_forward_hook(count)
    return counts


def build_and_count(architecture):
    """Return the FLOPs of a network with random weights at VGA."""
    import torch

    from search_spaces.network.detector import build_detector

    model = build_detector(architecture, torch.Generator().manual_seed(0)).eval()
    counts = forward_counter(model)
    with torch.no_grad():
        model(torch.zeros(1, 3, 480, 640))
    return counts["flops"]
