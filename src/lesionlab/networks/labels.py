"""Label maps as networks and discriminators read them."""

from __future__ import annotations

import torch
from torch import Tensor

from lesionlab.networks.layout import laid_out_like

REGIONS = 3  # background, normal brain, lesion: what label-wise discriminators see


def one_hot(labels: Tensor, classes: int, like: Tensor | None = None) -> Tensor:
    """``(N, H, W)`` int64 -> ``(N, classes, H, W)`` float32, 1 where a pixel has the channel's label.

    In the memory format of ``like`` where it is given, contiguous otherwise: sums depend on it in their last bit.
    """
    codes = torch.arange(classes, device=labels.device).view(1, classes, 1, 1)
    found = (labels.unsqueeze(1) == codes).float()
    return found if like is None else laid_out_like(found, like)


def region_masks(labels: Tensor) -> Tensor:
    """``(N, H, W)`` int64 -> ``(N, 3, H, W)`` float32: background, normal brain, any lesion.

    A new tensor each time: ``labels`` is never written to.
    """
    return one_hot(labels.clamp(max=REGIONS - 1), REGIONS)


def blacken(images: Tensor, labels: Tensor) -> Tensor:
    """Images ``(N, C, H, W)`` with -1 wherever the label ``(N, H, W)`` is background, as real slices have it."""
    return images.masked_fill(labels.unsqueeze(1) == 0, -1.0)
