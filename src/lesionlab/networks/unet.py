"""A 2D U-Net (Ronneberger et al. 2015), padded so that its output has the size of its input."""

from __future__ import annotations

from itertools import pairwise

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn
from torch.nn import functional

from lesionlab.networks.blocks import Norm, norm_layer


class UNetShape(BaseModel):
    """How large a U-Net is. The defaults are those of the U-Net's paper, with batch norm."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    width: int = Field(64, ge=1, description="feature maps of the first level; doubles at each level")
    depth: int = Field(4, ge=1, description="number of poolings")
    norm: Norm = "batch"
    dropout: float = Field(0.0, ge=0.0, lt=1.0, description="of whole feature maps, at the lowest level")


def double_conv(inputs: int, outputs: int, norm: Norm) -> nn.Sequential:
    """Two times k3 p1, norm, ReLU; size unchanged."""
    layers: list[nn.Module] = []
    for channels in (inputs, outputs):
        layers += [nn.Conv2d(channels, outputs, 3, padding=1, bias=False), norm_layer(norm, outputs)]
        layers += [nn.ReLU(inplace=True)]
    return nn.Sequential(*layers)


class UNet(nn.Module):
    """``(N, inputs, H, W)`` -> logits ``(N, classes, H, W)``, for any H and W.

    Sides that ``2 ** depth`` does not divide are padded with their edge, and the output is cropped back.
    Weights start as He et al. 2015 have it, which is the U-Net paper's rule (standard deviation sqrt(2/N)).
    """

    def __init__(self, inputs: int, classes: int, shape: UNetShape) -> None:
        super().__init__()
        widths = [shape.width * 2**level for level in range(shape.depth + 1)]
        pairs = list(pairwise(widths))
        self.multiple = 2**shape.depth
        self.enter = double_conv(inputs, widths[0], shape.norm)
        self.downs = nn.ModuleList(double_conv(low, high, shape.norm) for low, high in pairs)
        self.ups = nn.ModuleList(nn.ConvTranspose2d(high, low, 2, stride=2) for low, high in reversed(pairs))
        self.joins = nn.ModuleList(double_conv(2 * low, low, shape.norm) for low, _ in reversed(pairs))
        self.dropout = nn.Dropout2d(shape.dropout)
        self.head = nn.Conv2d(widths[0], classes, 1)
        self._initialise()

    def _initialise(self) -> None:
        for module in self.modules():
            if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
                nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
                if module.bias is not None:
                    nn.init.zeros_(module.bias)

    def forward(self, images: Tensor) -> Tensor:
        """``(N, inputs, H, W)`` -> logits ``(N, classes, H, W)``, float32."""
        height, width = images.shape[-2:]
        x = self.enter(self._pad(images))
        skips = []
        for down in self.downs:
            skips.append(x)
            x = down(functional.max_pool2d(x, 2))
        x = self.dropout(x)
        for up, join, skip in zip(self.ups, self.joins, reversed(skips), strict=True):
            x = join(torch.cat([skip, up(x)], dim=1))
        return self.head(x)[..., :height, :width].float()

    def _pad(self, images: Tensor) -> Tensor:
        height, width = images.shape[-2:]
        below, right = -height % self.multiple, -width % self.multiple
        return functional.pad(images, (0, right, 0, below), mode="replicate") if below or right else images
