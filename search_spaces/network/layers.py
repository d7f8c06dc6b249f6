"""Conv units, separable units and residual blocks (costs: `search_spaces.cost.layers`)."""

from torch import Tensor, nn


class ConvUnit(nn.Module):
    """A conv without bias, a norm, and a ReLU unless `activate` is false.

    `groups`: 0 for BatchNorm, otherwise the groups of a GroupNorm.
    """

    def __init__(
        self,
        inputs: int,
        outputs: int,
        *,
        kernel: int = 3,
        stride: int = 1,
        depthwise: bool = False,
        groups: int = 0,
        activate: bool = True,
    ) -> None:
        super().__init__()
        self.conv = nn.Conv2d(
            inputs,
            outputs,
            kernel,
            stride,
            padding=kernel // 2,
            groups=inputs if depthwise else 1,
            bias=False,
        )
        self.norm = nn.GroupNorm(groups, outputs) if groups else nn.BatchNorm2d(outputs)
        self.relu = nn.ReLU(inplace=True) if activate else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, inputs, H, W) to (B, outputs, H / stride, W / stride), rounded up."""
        normalised: Tensor = self.relu(self.norm(self.conv(x)))
        return normalised


class SeparableUnit(nn.Module):
    """A depthwise 3x3 unit, then a pointwise 1x1 unit (MobileNet v1, arXiv 1704.04861)."""

    def __init__(self, inputs: int, outputs: int, *, stride: int = 1, groups: int = 0) -> None:
        super().__init__()
        self.depthwise = ConvUnit(inputs, inputs, stride=stride, depthwise=True, groups=groups)
        self.pointwise = ConvUnit(inputs, outputs, kernel=1, groups=groups)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, inputs, H, W) to (B, outputs, H / stride, W / stride), rounded up."""
        mixed: Tensor = self.pointwise(self.depthwise(x))
        return mixed


class Shortcut(nn.Module):
    """The projection of a residual block that changes width or size (ResNet-D).

    Average-pool over `stride` cells (a partial window at the edge averages the cells that
    exist), conv 1x1, BatchNorm.
    """

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        pool = nn.AvgPool2d(stride, stride, ceil_mode=True, count_include_pad=False)
        self.pool = pool if stride > 1 else nn.Identity()
        self.conv = nn.Conv2d(inputs, outputs, 1, bias=False)
        self.norm = nn.BatchNorm2d(outputs)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, inputs, H, W) to (B, outputs, H / stride, W / stride), rounded up."""
        projected: Tensor = self.norm(self.conv(self.pool(x)))
        return projected


class ResidualBlock(nn.Module):
    """The sum of a branch of conv units, the last without ReLU, and a shortcut; then ReLU."""

    def __init__(self, branch: list[ConvUnit], shortcut: Shortcut | None) -> None:
        super().__init__()
        self.branch = nn.Sequential(*branch)
        self.shortcut = shortcut if shortcut is not None else nn.Identity()
        self.relu = nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, inputs, H, W) to (B, outputs, H / stride, W / stride), rounded up."""
        total: Tensor = self.relu(self.branch(x) + self.shortcut(x))
        return total

    @property
    def last_norm(self) -> nn.Module:
        """Last norm of the branch; initialised with zero, the block equals its shortcut."""
        norm: nn.Module = self.branch[-1].get_submodule("norm")
        return norm


def basic_block(inputs: int, width: int, stride: int) -> ResidualBlock:
    """Return a block of two 3x3 convs; the first has the stride."""
    branch = [
        ConvUnit(inputs, width, stride=stride),
        ConvUnit(width, width, activate=False),
    ]
    return ResidualBlock(branch, _shortcut(inputs, width, stride))


def bottleneck_block(inputs: int, width: int, stride: int, expansion: int) -> ResidualBlock:
    """Return a block of 1x1, 3x3 (with the stride) and 1x1 convs to `expansion` x the width."""
    outputs = expansion * width
    branch = [
        ConvUnit(inputs, width, kernel=1),
        ConvUnit(width, width, stride=stride),
        ConvUnit(width, outputs, kernel=1, activate=False),
    ]
    return ResidualBlock(branch, _shortcut(inputs, outputs, stride))


def _shortcut(inputs: int, outputs: int, stride: int) -> Shortcut | None:
    unchanged = stride == 1 and inputs == outputs
    return None if unchanged else Shortcut(inputs, outputs, stride)
