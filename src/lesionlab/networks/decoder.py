"""CG-SAMR's decoder: a trunk, then one up-sampling branch per sequence ("stretch-out", section III-A)."""

from __future__ import annotations

from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn

from lesionlab.networks.blocks import Norm, image_head, residual_trunk, up_block
from lesionlab.networks.confidence import Guidance, GuidanceModule

GuidancePlace = Literal["half", "released"]


class Synthesis(NamedTuple):
    """Images ``(N, C, H, W)``, the coarse images and confidence maps that guided them, both ``(N, C, h, w)``."""

    images: Tensor
    coarse: Tensor
    confidence: Tensor


def guided_step(place: GuidancePlace, downs: int) -> int:
    """After how many of a branch's up-sampling steps SM and CM sit.

    ``half``: before the last one, at half the image's size (the paper); ``released``: after the first (the
    authors' released file).
    """
    return downs - 1 if place == "half" else 1


class Branch(nn.Module):
    """One sequence's way from the latent to its image."""

    def __init__(self, channels: int, downs: int, norm: Norm, guided_after: int) -> None:
        super().__init__()
        widths = [channels // 2**i for i in range(downs + 1)]
        # The step after SM and CM takes one more channel: the coarse image, weighted by its confidence.
        steps = [up_block(widths[i] + (i == guided_after), widths[i + 1], norm) for i in range(downs)]
        self.before = nn.Sequential(*steps[:guided_after])
        self.after = nn.Sequential(*steps[guided_after:])
        self.head = image_head(widths[-1])

    def forward(self, latent: Tensor, guide: GuidanceModule) -> tuple[Tensor, Guidance]:
        """Latent ``(N, channels, H/2^n, W/2^n)`` -> image ``(N, 1, H, W)`` and what guided it."""
        features = self.before(latent)
        guidance = guide(features)
        weighted = (guidance.image * guidance.confidence).to(features.dtype)
        merged = torch.cat([features, weighted], dim=1)
        return self.head(self.after(merged)), guidance


class StretchOutDecoder(nn.Module):
    """Residual trunk and one branch per sequence, each with its synthesis and confidence map modules.

    Args:
        channels: channels of the latent.
        sequences: number of branches, C.
        downs: up-sampling steps of a branch, n; the width halves at each.
        blocks: residual blocks of the trunk.
        norm: ``batch`` or ``instance``.
        place: where SM and CM sit, see :func:`guided_step`.
        share: one SM/CM pair for all branches instead of one each.
    """

    def __init__(
        self, channels: int, sequences: int, downs: int, blocks: int, norm: Norm, place: GuidancePlace, share: bool
    ) -> None:
        super().__init__()
        after = guided_step(place, downs)
        self.trunk = residual_trunk(channels, blocks, norm)
        self.branches = nn.ModuleList(Branch(channels, downs, norm, after) for _ in range(sequences))
        pairs = 1 if share else sequences
        self.guides = nn.ModuleList(GuidanceModule(channels // 2**after) for _ in range(pairs))

    def forward(self, latent: Tensor) -> Synthesis:
        """Latent ``(N, channels, H/2^n, W/2^n)`` -> :class:`Synthesis`, float32."""
        shared = self.trunk(latent)
        parts = [branch(shared, self.guides[i % len(self.guides)]) for i, branch in enumerate(self.branches)]
        images, guidance = zip(*parts, strict=True)
        coarse, confidence = zip(*guidance, strict=True)
        return Synthesis(*(torch.cat(tensors, dim=1) for tensors in (images, coarse, confidence)))
