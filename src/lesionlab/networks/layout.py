"""Memory formats and precisions that would otherwise be lost on the way, at the price of a copy in each layer."""

from __future__ import annotations

import torch
from torch import Tensor

TO_LAST, FROM_LAST = (0, 2, 3, 1), (0, 3, 1, 2)


def is_channels_last(x: Tensor) -> bool:
    """Whether the channels of ``(N, C, H, W)`` lie side by side; never so where there is no telling (one channel)."""
    return x.ndim == len(TO_LAST) and x.is_contiguous(memory_format=torch.channels_last) and not x.is_contiguous()


def laid_out_like(x: Tensor, other: Tensor) -> Tensor:
    """``x``, channels-last where ``other`` is."""
    return x.contiguous(memory_format=torch.channels_last) if is_channels_last(other) else x


def aligned(x: Tensor, other: Tensor) -> Tensor:
    """``x`` in the memory format of ``other``, which has its shape: itself where that is so already."""
    if x.stride() == other.stride() or is_channels_last(x) == is_channels_last(other):
        return x
    return x.contiguous(memory_format=torch.channels_last if is_channels_last(other) else torch.contiguous_format)


def in_memory_order(x: Tensor) -> Tensor:
    """A view of ``x`` whose axes are in the order in which they lie in memory."""
    return x.permute(TO_LAST) if x.ndim == len(TO_LAST) and is_channels_last(x) else x


def join_channels(parts: list[Tensor], like: Tensor) -> Tensor:
    """``torch.cat(parts, dim=1)`` in the memory format of ``like``: parts of one channel would break channels-last."""
    if not is_channels_last(like):
        return torch.cat(parts, dim=1)
    return torch.cat([part.permute(TO_LAST) for part in parts], dim=-1).permute(FROM_LAST)


def in_autocast(x: Tensor) -> Tensor:
    """``x`` as convolutions under autocast would take it: converted once here, not in each of many passes."""
    kind = x.device.type
    return x.to(torch.get_autocast_dtype(kind)) if torch.is_autocast_enabled(kind) else x
