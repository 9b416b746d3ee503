"""The network that is trained: a small residual trunk and a dense box head.

    (n, 6, h, w)  the planes of xingyue_models.template_detection.inputs
      -> stride 4 -> stride 8 -> stride 16 -> fused back to stride 8
    f8 (n, 64, h/8, w/8), f16 (n, 128, h/16, w/16)
    head on f8: 6 centre heatmaps (logits) and 4 distances to the box's sides, in strides

Trained from scratch; nothing of it comes from elsewhere. The dense head follows CenterNet's
heatmaps (Zhou et al. 2019) with the side distances of FCOS (Tian et al. 2019).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from xingyue_models.template_detection.inputs import PLANES

STRIDE = 8
FINE_CHANNELS = 32
FEATURE_CHANNELS = 64
DEEP_CHANNELS = 128
HIDDEN_CHANNELS = 64
_PRIOR = 0.01


def _conv(inputs: int, outputs: int, stride: int = 1) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False),
        nn.BatchNorm2d(outputs),
        nn.ReLU(inplace=True),
    )


class Residual(nn.Module):
    """Two 3x3 convolutions around a shortcut; same shape out as in."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first = _conv(channels, channels)
        self.second = nn.Sequential(
            nn.Conv2d(channels, channels, 3, 1, 1, bias=False), nn.BatchNorm2d(channels)
        )

    def forward(self, x: Tensor) -> Tensor:
        return functional.relu(x + self.second(self.first(x)))


class TrunkNetwork(nn.Module):
    """(n, 6, h, w) -> f8, f16; h and w divisible by 16."""

    def __init__(self) -> None:
        super().__init__()
        middle = FINE_CHANNELS * 2
        # Space-to-depth first: four times fewer positions at the only level that is memory-bound.
        self.stride4 = nn.Sequential(_conv(4 * PLANES, FINE_CHANNELS, 2), Residual(FINE_CHANNELS))
        self.stride8 = nn.Sequential(
            _conv(FINE_CHANNELS, middle, 2), Residual(middle), Residual(middle)
        )
        self.stride16 = nn.Sequential(
            _conv(middle, DEEP_CHANNELS, 2), Residual(DEEP_CHANNELS), Residual(DEEP_CHANNELS)
        )
        self.lateral = nn.Conv2d(DEEP_CHANNELS, middle, 1)
        self.fuse = _conv(middle, FEATURE_CHANNELS)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        fine = self.stride8(self.stride4(functional.pixel_unshuffle(x, 2)))
        deep = self.stride16(fine)
        upsampled = functional.interpolate(self.lateral(deep), scale_factor=2.0, mode="nearest")
        return self.fuse(fine + upsampled), deep


class HeadNetwork(nn.Module):
    """f8 -> (n, classes + 4, h/8, w/8): logits, then left, top, right, bottom in strides."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.hidden = nn.Conv2d(FEATURE_CHANNELS, HIDDEN_CHANNELS, 1)
        self.output = nn.Conv2d(HIDDEN_CHANNELS, classes + 4, 1)
        with torch.no_grad():
            bias = self.output.bias
            assert bias is not None
            # Rare positives: start every heatmap at the prior, every box at 32 pixels.
            bias[:classes] = -torch.log(torch.tensor((1 - _PRIOR) / _PRIOR))
            bias[classes:] = 2.0

    def forward(self, features: Tensor) -> Tensor:
        output: Tensor = self.output(functional.relu(self.hidden(features)))
        return output


class Detector(nn.Module):
    """Trunk and head together, as trained."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.trunk = TrunkNetwork()
        self.head = HeadNetwork(classes)

    def forward(self, x: Tensor) -> Tensor:
        output: Tensor = self.head(self.trunk(x)[0])
        return output
