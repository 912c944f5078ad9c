"""Generator and discriminators of pix2pixHD (Wang et al., CVPR 2018, section 3), after its public code."""

from __future__ import annotations

from itertools import pairwise

from torch import Tensor, nn

from lesionlab.networks.blocks import Norm, image_head, init_gan_weights, residual_trunk, up_block
from lesionlab.networks.encoder import down_path
from lesionlab.networks.patchgan import Features, PatchGAN


class GlobalGenerator(nn.Module):
    """``(N, inputs, H, W)`` -> ``(N, outputs, H, W)`` in [-1, 1]: k7, n strided k3, residual blocks, n up, k7, tanh.

    Args:
        inputs, outputs: channels.
        width: feature maps of the first layer; doubles at each strided layer.
        downs: strided layers, n; H and W must be divisible by ``2 ** downs``.
        blocks: residual blocks.
        norm: ``batch`` or ``instance``.
    """

    def __init__(self, inputs: int, outputs: int, width: int, downs: int, blocks: int, norm: Norm) -> None:
        super().__init__()
        widths = [width * 2**level for level in range(downs, -1, -1)]
        self.layers = nn.Sequential(
            down_path(inputs, width, downs, norm),
            residual_trunk(widths[0], blocks, norm),
            *(up_block(wide, narrow, norm) for wide, narrow in pairwise(widths)),
            image_head(width, outputs),
        )
        init_gan_weights(self)

    def forward(self, x: Tensor) -> Tensor:
        """``(N, inputs, H, W)`` -> ``(N, outputs, H, W)`` in [-1, 1], float32."""
        return self.layers(x)


class MultiScaleDiscriminator(nn.Module):
    """A PatchGAN for each scale of an image pyramid, the full scale first.

    Args:
        inputs: channels of condition and image together.
        width: feature maps of the first layer.
        norm: ``batch`` or ``instance``.
        scales: of the pyramid, each half as large as the one before.
    """

    def __init__(self, inputs: int, width: int, norm: Norm, scales: int) -> None:
        super().__init__()
        self.scales = nn.ModuleList(PatchGAN(inputs, width, norm) for _ in range(scales))
        self.halve = nn.AvgPool2d(3, stride=2, padding=1, count_include_pad=False)
        init_gan_weights(self)

    def forward(self, x: Tensor) -> list[Features]:
        """``(N, inputs, H, W)`` -> for each scale its layers' outputs; the last are logits, one per patch."""
        found = []
        for number, judge in enumerate(self.scales):
            x = self.halve(x) if number else x
            found.append(judge(x))
        return found
