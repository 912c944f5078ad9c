"""Label maps as networks and discriminators read them."""

from __future__ import annotations

import torch
from torch import Tensor

REGIONS = 3  # background, normal brain, lesion: what label-wise discriminators see


def one_hot(labels: Tensor, classes: int) -> Tensor:
    """``(N, H, W)`` int64 -> ``(N, classes, H, W)`` float32, 1 where a pixel has the channel's label."""
    codes = torch.arange(classes, device=labels.device).view(1, classes, 1, 1)
    return (labels.unsqueeze(1) == codes).float()


def region_masks(labels: Tensor) -> Tensor:
    """``(N, H, W)`` int64 -> ``(N, 3, H, W)`` float32: background, normal brain, any lesion.

    A new tensor each time: ``labels`` is never written to.
    """
    return one_hot(labels.clamp(max=REGIONS - 1), REGIONS)
