"""Feature matching: synthesized images should excite the discriminators as real ones do (CG-SAMR, Eq. 3)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor


def feature_matching_loss(real: Sequence[Sequence[Tensor]], fake: Sequence[Sequence[Tensor]]) -> Tensor:
    """Sum over discriminators and all their layers of the mean squared difference between features, float32.

    Args:
        real: for each discriminator its layers' outputs for real images; no gradient flows into them.
        fake: the same for synthesized images.
    """
    pairs = [
        pair
        for real_layers, fake_layers in zip(real, fake, strict=True)
        for pair in zip(real_layers, fake_layers, strict=True)
    ]
    return SumOfMeanSquares.apply(len(pairs), *(of_real.detach() for of_real, _ in pairs), *(f for _, f in pairs))


class SumOfMeanSquares(torch.autograd.Function):
    """The sum over pairs of tensors of their mean squared difference.

    Differences stay in the precision of the features, and sums are taken in float32: a third of the passes through
    memory that ``mse_loss`` takes under autocast.
    """

    @staticmethod
    def forward(ctx: Any, count: int, *tensors: Tensor) -> Tensor:
        """``count`` targets, then as many tensors of their shapes -> a scalar."""
        differences = torch._foreach_sub(tensors[count:], tensors[:count])
        ctx.save_for_backward(*differences)
        norms = [torch.linalg.vector_norm(d, dtype=torch.float32) / d.numel() ** 0.5 for d in differences]
        return torch.stack(norms).square().sum()

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:  # type: ignore[override]
        """2 d / n for each difference d of n elements; nothing for the targets."""
        differences = ctx.saved_tensors
        return (None, *[None] * len(differences), *(d * (grad * (2 / d.numel())) for d in differences))
