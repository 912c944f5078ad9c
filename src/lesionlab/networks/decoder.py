"""The decoder of SAMR and CG-SAMR: a trunk, then one up-sampling branch per sequence ("stretch-out")."""

from __future__ import annotations

from typing import Literal, NamedTuple

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn

from lesionlab.networks.blocks import Norm, Upsampling, image_head, residual_trunk, up_block
from lesionlab.networks.confidence import Guidance, GuidanceModule
from lesionlab.networks.layout import join_channels

GuidancePlace = Literal["half", "released"]


class Synthesis(NamedTuple):
    """Images ``(N, C, H, W)``, and where they are guided the coarse images and confidence maps ``(N, C, h, w)``."""

    images: Tensor
    coarse: Tensor | None = None
    confidence: Tensor | None = None


class DecoderShape(BaseModel):
    """How a decoder is laid out.

    Attributes:
        downs: up-sampling steps of a branch, n; the width halves at each.
        blocks: residual blocks of the trunk.
        branch_blocks: residual blocks at the beginning of each branch.
        norm: ``batch`` or ``instance``.
        upsampling: how a step doubles the sides, see :func:`lesionlab.networks.blocks.up_block`.
        shown: channels of the label map that the image heads see beside their features; 0: they see none.
        stretch_out: one branch per sequence; else a single branch ends in all images.
        guidance: where the branches have SM and CM, see :func:`guided_step`; null: nowhere.
        share: one SM/CM pair for all branches instead of one each.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    downs: int = Field(ge=1)
    blocks: int = Field(ge=0)
    branch_blocks: int = Field(0, ge=0)
    norm: Norm = "batch"
    upsampling: Upsampling = "transposed"
    shown: int = Field(0, ge=0)
    stretch_out: bool = True
    guidance: GuidancePlace | None = None
    share: bool = False


def guided_step(place: GuidancePlace, downs: int) -> int:
    """After how many of a branch's up-sampling steps SM and CM sit.

    ``half``: before the last one, at half the image's size (the paper); ``released``: after the first (the
    authors' released file).
    """
    return downs - 1 if place == "half" else 1


class Branch(nn.Module):
    """The way from the latent to one sequence's image, or to all images where there is no stretch-out.

    Args:
        channels: channels of the latent.
        images: how many it ends in.
        shape: see :class:`DecoderShape`.
    """

    def __init__(self, channels: int, images: int, shape: DecoderShape) -> None:
        super().__init__()
        place, downs = shape.guidance, shape.downs
        guided_after = downs if place is None else guided_step(place, downs)
        widths = [channels // 2**i for i in range(downs + 1)]
        # The step after SM and CM takes more channels: the coarse images, weighted by their confidence.
        extra = [images if i == guided_after else 0 for i in range(downs)]
        steps = [up_block(widths[i] + extra[i], widths[i + 1], shape.norm, shape.upsampling) for i in range(downs)]
        self.before = nn.Sequential(*residual_trunk(channels, shape.branch_blocks, shape.norm), *steps[:guided_after])
        self.after = nn.Sequential(*steps[guided_after:])
        self.head = image_head(widths[-1] + shape.shown, images)

    def forward(
        self, latent: Tensor, guide: GuidanceModule | None, shown: Tensor | None
    ) -> tuple[Tensor, Guidance | None]:
        """Latent ``(N, channels, H/2^n, W/2^n)`` -> images ``(N, images, H, W)`` and what guided them.

        ``shown`` ``(N, shown, H, W)`` is what the head sees beside the features, None for nothing.
        """
        features, guidance = self.before(latent), None
        if guide is not None:
            guidance = guide(features)
            weighted = (guidance.image * guidance.confidence).to(features.dtype)
            features = join_channels([features, weighted], features)
        features = self.after(features)
        if shown is not None:
            features = join_channels([features, shown.to(features.dtype)], features)
        return self.head(features), guidance


class StretchOutDecoder(nn.Module):
    """Residual trunk and branches, each with synthesis and confidence map modules where the shape says so.

    Args:
        channels: channels of the latent.
        sequences: images to be made, C.
        shape: see :class:`DecoderShape`.
    """

    def __init__(self, channels: int, sequences: int, shape: DecoderShape) -> None:
        super().__init__()
        self.trunk = residual_trunk(channels, shape.blocks, shape.norm)
        branches, images = (sequences, 1) if shape.stretch_out else (1, sequences)
        self.branches = nn.ModuleList(Branch(channels, images, shape) for _ in range(branches))
        self.guides = nn.ModuleList()
        if shape.guidance is not None:
            width = channels // 2 ** guided_step(shape.guidance, shape.downs)
            self.guides.extend(GuidanceModule(width, images) for _ in range(1 if shape.share else branches))

    def forward(self, latent: Tensor, shown: Tensor | None = None) -> Synthesis:
        """Latent ``(N, channels, H/2^n, W/2^n)`` -> :class:`Synthesis`, float32.

        ``shown`` ``(N, shown, H, W)`` is what the image heads see beside their features.
        """
        shared = self.trunk(latent)
        parts = [branch(shared, self._guide(i), shown) for i, branch in enumerate(self.branches)]
        images = join_channels([image for image, _ in parts], latent)
        guidance = [guide for _, guide in parts if guide is not None]
        if not guidance:
            return Synthesis(images)
        coarse, confidence = zip(*guidance, strict=True)
        return Synthesis(images, torch.cat(coarse, dim=1), torch.cat(confidence, dim=1))

    def _guide(self, branch: int) -> GuidanceModule | None:
        return self.guides[branch % len(self.guides)] if len(self.guides) else None  # type: ignore[return-value]
