"""The U-Net generator of pix2pix (Isola et al., CVPR 2017, section 6.1), after its public code."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from lesionlab.networks.blocks import InFloat32, Norm, init_gan_weights, norm_layer

KERNEL, STRIDE, PADDING = 4, 2, 1
LEAK = 0.2
WIDEST = 8  # times the width of the first layer: 64-128-256-512-512-..
DROPPING = 3  # inner up layers with dropout, the next above the lowest


def halvings(size: tuple[int, int], most: int) -> int:
    """How often both sides of a slice can be halved, at most so often; 256 x 256 is halved 8 times, to 1 x 1."""
    count = 0
    while count < most and all(side % 2 ** (count + 1) == 0 for side in size):
        count += 1
    return count


class Pix2PixGenerator(nn.Module):
    """``(N, inputs, H, W)`` -> ``(N, outputs, H, W)`` in [-1, 1]: n strided convolutions down, n up, with skips.

    Down: k4 s2, norm (not on the first and the lowest), LeakyReLU before the next. Up: ReLU, transposed k4 s2, norm,
    dropout in the three next above the lowest; tanh at the end.

    Args:
        inputs, outputs: channels.
        width: feature maps of the first layer; doubles down to 8 times as many.
        downs: strided layers, n; H and W must be divisible by ``2 ** downs``.
        norm: ``batch`` or ``instance``.
        dropout: probability of each feature to be left out.
        dropout_at_test: leave features out when applied too, the only noise that pix2pix has.
    """

    def __init__(
        self, inputs: int, outputs: int, width: int, downs: int, norm: Norm, dropout: float, dropout_at_test: bool
    ) -> None:
        super().__init__()
        widths = [width * min(2**level, WIDEST) for level in range(downs)]
        self.downs = nn.ModuleList(
            nn.Sequential(
                *([nn.LeakyReLU(LEAK)] if level else []),
                nn.Conv2d(below, above, KERNEL, STRIDE, PADDING, bias=False),
                *([norm_layer(norm, above)] if 0 < level < downs - 1 else []),
            )
            for level, (below, above) in enumerate(zip([inputs, *widths], widths, strict=False))
        )
        given = [*(2 * wide for wide in widths[:-1]), widths[-1]]  # with the skip's, but for the lowest layer
        self.ups = nn.ModuleList(
            nn.Sequential(
                nn.ReLU(),
                nn.ConvTranspose2d(given[level], widths[level - 1], KERNEL, STRIDE, PADDING, bias=False),
                norm_layer(norm, widths[level - 1]),
            )
            for level in range(downs - 1, 0, -1)
        )
        self.head = nn.ConvTranspose2d(given[0], outputs, KERNEL, STRIDE, PADDING)
        self.activation = InFloat32(nn.Tanh())
        self.dropout, self.dropout_at_test = dropout, dropout_at_test
        init_gan_weights(self)

    def forward(self, x: Tensor) -> Tensor:
        """``(N, inputs, H, W)`` -> ``(N, outputs, H, W)`` in [-1, 1], float32."""
        skips = []
        for down in self.downs:
            x = down(x)
            skips.append(x)
        x = skips.pop()
        for number, up in enumerate(self.ups):
            x = up(x)
            if 1 <= number <= DROPPING:
                x = nn.functional.dropout(x, self.dropout, training=self.training or self.dropout_at_test)
            x = torch.cat([skips.pop(), x], dim=1)
        return self.activation(self.head(nn.functional.relu(x)))
