"""The encoder of SAMR and CG-SAMR: lesions and atlas each through their own layers, then a shared trunk."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from lesionlab.networks.blocks import Norm, down_block, residual_trunk, stem


def down_path(inputs: int, width: int, downs: int, norm: Norm) -> nn.Sequential:
    """``(N, inputs, H, W)`` -> ``(N, width * 2^downs, H / 2^downs, W / 2^downs)``: k7 stem, then strided k3."""
    steps = [down_block(width * 2**i, width * 2 ** (i + 1), norm) for i in range(downs)]
    return nn.Sequential(stem(inputs, width, norm), *steps)


class PriorEncoder(nn.Module):
    """Encodes a one-hot label map and an anatomical prior into one latent (SAMR, Figure 1a; CG-SAMR, section III-A).

    Args:
        classes: channels of the one-hot label map, K.
        prior_channels: channels of the prior (3 atlas planes times C sequences); 0: there is no prior.
        width: feature maps after the first layer, f.
        downs: strided layers, n; H and W must be divisible by ``2 ** downs``.
        blocks: residual blocks after the two paths are joined.
        norm: ``batch`` or ``instance``.
    """

    def __init__(self, classes: int, prior_channels: int, width: int, downs: int, blocks: int, norm: Norm) -> None:
        super().__init__()
        self.lesion = down_path(classes, width, downs, norm)
        self.prior = down_path(prior_channels, width, downs, norm) if prior_channels else None
        self.channels = (2 if prior_channels else 1) * width * 2**downs
        self.trunk = residual_trunk(self.channels, blocks, norm)

    def forward(self, labels: Tensor, prior: Tensor) -> Tensor:
        """``(N, K, H, W)`` one-hot and ``(N, P, H, W)`` -> latent ``(N, channels, H / 2^n, W / 2^n)``."""
        lesion = self.lesion(labels)
        return self.trunk(lesion if self.prior is None else torch.cat([lesion, self.prior(prior)], dim=1))
