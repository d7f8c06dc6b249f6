"""Backbones: a stem and the stages C2-C5 at strides 4, 8, 16, 32."""

from torch import Tensor, nn

from search_spaces import architecture as spec
from search_spaces.network.layers import ConvUnit, SeparableUnit, basic_block, bottleneck_block

IMAGE_CHANNELS = 3


class Backbone(nn.Module):
    """A network from images to the feature maps of C3, C4 and C5.

    A residual backbone's stem is three 3x3 convs (deep stem, ResNet-D) and a max-pool
    (`pool`); its C2 keeps the size. In the depthwise family every stage halves it.
    """

    def __init__(self, backbone: spec.Backbone) -> None:
        super().__init__()
        separable = backbone.block == "depthwise"
        self.stem = _mobile_stem(backbone) if separable else _residual_stem(backbone)
        self.pool = nn.Identity() if separable else nn.MaxPool2d(2, 2)
        inputs = (backbone.stem_widths[-1], *backbone.output_widths)
        strides = (2 if separable else 1, 2, 2, 2)
        stages = [_stage(backbone, i, inputs[i], strides[i]) for i in range(spec.NUM_STAGES)]
        self.c2, self.c3, self.c4, self.c5 = stages

    def forward(self, images_B3HW: Tensor) -> list[Tensor]:
        """Return the feature maps of C3, C4, C5, (B, C, H / s, W / s) for s in 8, 16, 32."""
        return self.all_stages(images_B3HW)[1:]

    def all_stages(self, images_B3HW: Tensor) -> list[Tensor]:
        """Return the feature maps of C2, C3, C4, C5."""
        x = self.pool(self.stem(images_B3HW))
        features = []
        for stage in (self.c2, self.c3, self.c4, self.c5):
            x = stage(x)
            features.append(x)
        return features


def _residual_stem(backbone: spec.Backbone) -> nn.Sequential:
    width = backbone.stem_widths[0]
    half = width // 2
    return nn.Sequential(
        ConvUnit(IMAGE_CHANNELS, half, stride=2), ConvUnit(half, half), ConvUnit(half, width)
    )


def _mobile_stem(backbone: spec.Backbone) -> nn.Sequential:
    first, second = backbone.stem_widths
    return nn.Sequential(ConvUnit(IMAGE_CHANNELS, first, stride=2), SeparableUnit(first, second))


def _stage(backbone: spec.Backbone, index: int, inputs: int, stride: int) -> nn.Sequential:
    """Return stage `index` (0 is C2): its first block changes width and size, the rest neither."""
    outputs = backbone.output_widths[index]
    later = (_block(backbone, index, outputs, 1) for _ in range(backbone.depths[index] - 1))
    return nn.Sequential(_block(backbone, index, inputs, stride), *later)


def _block(backbone: spec.Backbone, index: int, inputs: int, stride: int) -> nn.Module:
    width = backbone.widths[index]
    if backbone.block == "basic":
        return basic_block(inputs, width, stride)
    if backbone.block == "bottleneck":
        return bottleneck_block(inputs, width, stride, spec.BOTTLENECK_EXPANSION)
    return SeparableUnit(inputs, width, stride=stride)
