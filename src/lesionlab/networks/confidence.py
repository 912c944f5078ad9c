"""CG-SAMR's synthesis and confidence map modules (section III-B, Figure 3)."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor, nn

from lesionlab.networks.blocks import InFloat32
from lesionlab.networks.layout import join_channels

MODULE_WIDTHS = (32, 16, 16)
MODULE_KERNELS = (1, 3, 3, 3)
LEAK = 0.2


class Guidance(NamedTuple):
    """What a branch knows half-way: coarse images ``(N, c, h, w)`` in [-1, 1] and their confidence in (0, 1)."""

    image: Tensor
    confidence: Tensor


def image_module(inputs: int, images: int, end: nn.Module) -> nn.Sequential:
    """``(N, inputs, h, w)`` -> ``(N, images, h, w)``: k1 to 32, k3 to 16, 16, the images; leaky ReLU, no norm."""
    layers: list[nn.Module] = []
    for outputs, kernel in zip((*MODULE_WIDTHS, images), MODULE_KERNELS, strict=True):
        layers += [nn.Conv2d(inputs, outputs, kernel, padding=kernel // 2), nn.LeakyReLU(LEAK, inplace=True)]
        inputs = outputs
    return nn.Sequential(*layers[:-1], InFloat32(end))


class GuidanceModule(nn.Module):
    """SM and CM: a coarse image from the features, and how far to trust it, pixel by pixel (Eq. 1)."""

    def __init__(self, channels: int, images: int = 1) -> None:
        super().__init__()
        self.synthesis = image_module(channels, images, nn.Tanh())
        self.confidence = image_module(channels + images, images, nn.Sigmoid())

    def initialise(self) -> None:
        """Draw weights as He et al. 2015 have it, biases 0.

        Without norm layers, N(0, 0.02) would shrink what passes by ten at each of the four convolutions: the
        coarse images stay grey, and the confidence maps flat, for the first hundreds of steps.
        """
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, LEAK)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)

    def forward(self, features: Tensor) -> Guidance:
        """``(N, channels, h, w)`` -> images and confidence, each ``(N, images, h, w)``."""
        image = self.synthesis(features)
        return Guidance(image, self.confidence(join_channels([features, image.to(features.dtype)], features)))
