"""The U-Net generator of pix2pix (Isola et al., CVPR 2017, section 6.1), laid out as in its public PyTorch code."""

from __future__ import annotations

from functools import partial
from itertools import pairwise
from typing import Literal

from torch import Tensor, nn
from torch.nn import functional

from lesionlab.networks.blocks import BatchNorm, InFloat32, Norm, init_gan_weights, norm_layer
from lesionlab.networks.layout import join_channels

KERNEL, STRIDE, PADDING = 4, 2, 1
LEAK = 0.2
WIDEST = 8  # times the width of the first layer: 64-128-256-512-512-..
DROPPING = 3  # layers up with dropout, the next above the lowest

Statistics = Literal["picture", "training"]


def halvings(size: tuple[int, int], most: int) -> int:
    """How often both sides of a slice can be halved, at most so often; 256 x 256 is halved 8 times, to 1 x 1."""
    count = 0
    while count < most and all(side % 2 ** (count + 1) == 0 for side in size):
        count += 1
    return count


class PictureNorm(BatchNorm):
    """Batch norm that takes each picture's own statistics in evaluation mode (section 3.3: those of a test batch of 1).

    Trained on one picture at a time, it does the same in both modes; running averages would do something else.
    """

    def forward(self, x: Tensor) -> Tensor:
        """``(N, C, H, W)`` -> the same shape; in evaluation mode more than one pixel is required."""
        if self.training:
            return super().forward(x)
        return functional.instance_norm(x, weight=self.weight, bias=self.bias, eps=self.eps)


class Dropout(nn.Dropout):
    """Leaves features out in training mode, and in evaluation mode too where told so (section 3.3)."""

    def __init__(self, probability: float, at_test: bool) -> None:
        super().__init__(probability)
        self.at_test = at_test

    def forward(self, x: Tensor) -> Tensor:
        """Any shape -> the same; draws from torch's generator."""
        return functional.dropout(x, self.p, self.training or self.at_test)


def strided(inputs: int, outputs: int) -> nn.Conv2d:
    """``(N, inputs, H, W)`` -> ``(N, outputs, H/2, W/2)``."""
    return nn.Conv2d(inputs, outputs, KERNEL, STRIDE, PADDING, bias=False)


def doubling(inputs: int, outputs: int, bias: bool = False) -> nn.ConvTranspose2d:
    """``(N, inputs, H, W)`` -> ``(N, outputs, 2H, 2W)``."""
    return nn.ConvTranspose2d(inputs, outputs, KERNEL, STRIDE, PADDING, bias=bias)


class Pix2PixGenerator(nn.Module):
    """``(N, inputs, H, W)`` -> ``(N, outputs, H, W)`` in [-1, 1]: n strided convolutions down, n up, with skips.

    Down: k4 s2, norm (not on the first and the lowest), LeakyReLU before the next. Up: ReLU, transposed k4 s2, norm,
    dropout in the three layers next above the lowest, as far as there are; tanh at the end.

    Args:
        inputs, outputs: channels.
        width: feature maps of the first layer; doubles down to 8 times as many.
        downs: strided layers, n; H and W must be divisible by ``2 ** downs``.
        norm: ``batch`` or ``instance``.
        statistics: that batch norm takes in evaluation mode: each picture's own, or running averages of training.
        dropout: probability of each feature to be left out.
        dropout_at_test: leave features out in evaluation mode too, the only noise that pix2pix has.
    """

    def __init__(
        self,
        inputs: int,
        outputs: int,
        width: int,
        downs: int,
        *,
        norm: Norm = "batch",
        statistics: Statistics = "picture",
        dropout: float = 0.5,
        dropout_at_test: bool = False,
    ) -> None:
        super().__init__()
        rule = PictureNorm if norm == "batch" and statistics == "picture" else partial(norm_layer, norm)
        widths = [width * min(2**level, WIDEST) for level in range(downs)]
        self.downs = nn.ModuleList([nn.Sequential(strided(inputs, width))])
        for below, above in pairwise(widths[:-1]):
            self.downs.append(nn.Sequential(nn.LeakyReLU(LEAK), strided(below, above), rule(above)))
        self.downs.append(nn.Sequential(nn.LeakyReLU(LEAK), strided(widths[-2], widths[-1])))
        self.ups = nn.ModuleList([nn.Sequential(nn.ReLU(), doubling(widths[-1], widths[-2]), rule(widths[-2]))])
        for number, (below, above) in enumerate(pairwise(widths[-2::-1])):
            layers = [nn.ReLU(inplace=True), doubling(2 * below, above), rule(above)]  # twice: the skip's features too
            noise = [Dropout(dropout, dropout_at_test)] if number < DROPPING else []
            self.ups.append(nn.Sequential(*layers, *noise))
        head = doubling(2 * width, outputs, bias=True)
        self.head = nn.Sequential(nn.ReLU(inplace=True), head, InFloat32(nn.Tanh()))
        init_gan_weights(self)

    def forward(self, x: Tensor) -> Tensor:
        """``(N, inputs, H, W)`` -> ``(N, outputs, H, W)`` in [-1, 1], float32."""
        skips = []
        for down in self.downs:
            x = down(x)
            skips.append(x)
        x = skips.pop()
        for up in self.ups:
            x = join_channels([skips.pop(), up(x)], x)
        return self.head(x)
