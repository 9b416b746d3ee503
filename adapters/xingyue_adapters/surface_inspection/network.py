"""The convolutional head of surface inspection, for training; served as ONNX.

It stands on two taps of the shared trunk and adds what the frozen trunk lacks: its own view of the
grey image at half resolution (cracks and blowholes are a few pixels wide), and its own copy of the
trunk's blocks from stride 8 to 16, tuned to surfaces.

    canvas (N,3,S,S) -> grey -> detail /2, /4 ─┐
    trunk f4 (N,24,S/4,S/4) ───────────────────┤
    trunk f8 (N,40,S/8,S/8) -> late blocks /16 ┴ -> decoder -> defect, classes, image

Outputs, all logits: ``defect`` (N,1,S/2,S/2), ``classes`` (N,K,S/4,S/4), ``image`` (N,1).
"""

from __future__ import annotations

from pathlib import Path

import torch
from torch import nn
from torch.nn import functional

from xingyue_models.efficientnet_lite import load_backbone

TRUNK_INPUTS = ("f4", "f8")
_FIRST_LATE_BLOCK, _LAST_LATE_BLOCK = 5, 10


class ConvBlock(nn.Sequential):
    """3x3 (or 1x1) convolution, batch norm, ReLU."""

    def __init__(self, inputs: int, outputs: int, kernel: int = 3, stride: int = 1) -> None:
        super().__init__(
            nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, bias=False),
            nn.BatchNorm2d(outputs),
            nn.ReLU(inplace=True),
        )


class Residual(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.body = nn.Sequential(ConvBlock(channels, channels), ConvBlock(channels, channels))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.body(x)  # type: ignore[no-any-return]


class SurfaceHead(nn.Module):
    """``classes`` is the number of defect kinds; ``pth`` the trunk's weight file."""

    def __init__(self, classes: int, pth: Path) -> None:
        super().__init__()
        self.detail2 = nn.Sequential(nn.PixelUnshuffle(2), ConvBlock(4, 20), Residual(20))
        self.detail4 = nn.Sequential(ConvBlock(20, 32, stride=2), Residual(32))
        blocks = load_backbone(pth)._blocks
        self.late = nn.ModuleList(blocks[_FIRST_LATE_BLOCK : _LAST_LATE_BLOCK + 1])
        self.lateral16 = ConvBlock(112, 96, kernel=1)
        self.context = nn.Linear(96, 96)
        self.decode8 = nn.Sequential(ConvBlock(96 + 40, 64, kernel=1), ConvBlock(64, 64))
        self.decode4 = nn.Sequential(ConvBlock(64 + 24 + 32, 48, kernel=1), ConvBlock(48, 48))
        self.decode2 = nn.Sequential(ConvBlock(48 + 20, 24, kernel=1), ConvBlock(24, 24))
        self.dropout = nn.Dropout2d(0.1)
        self.defect = nn.Conv2d(24, 1, 1)
        self.classes = nn.Conv2d(48, classes, 1)
        self.image = nn.Linear(96 * 2 + 64, 1)
        nn.init.constant_(self.defect.bias, -4.0)  # type: ignore[arg-type]

    def train(self, mode: bool = True) -> SurfaceHead:
        """The late blocks keep their ImageNet batch statistics: batches here are small."""
        super().train(mode)
        self.late.eval()
        return self

    def forward(
        self, canvas: torch.Tensor, f4: torch.Tensor, f8: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        detail2 = self.detail2(canvas.mean(dim=1, keepdim=True))
        detail4 = self.detail4(detail2)
        x = f8
        for block in self.late:
            x = block(x)
        x16 = self.lateral16(x)
        x16 = x16 + self.context(x16.mean(dim=(2, 3)))[:, :, None, None]
        x8 = self.decode8(torch.cat([_twice(x16), f8], 1))
        x4 = self.decode4(torch.cat([_twice(x8), f4, detail4], 1))
        x2 = self.decode2(torch.cat([_twice(self.dropout(x4)), detail2], 1))
        pooled = [x16.mean(dim=(2, 3)), x16.amax(dim=(2, 3)), x8.amax(dim=(2, 3))]
        image = self.image(functional.dropout(torch.cat(pooled, 1), 0.2, self.training))
        return self.defect(x2), self.classes(x4), image


def _twice(x: torch.Tensor) -> torch.Tensor:
    return functional.interpolate(x, scale_factor=2.0, mode="bilinear", align_corners=False)
