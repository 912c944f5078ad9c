"""Feature matching: synthesized images should excite the discriminators as real ones do (CG-SAMR, Eq. 3)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

PLAIN_LAYERS = 2  # of a PatchGAN, without stride: the last inner one and the logits
LAYER_SHARE = 4.0  # of pix2pixHD's public code


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


def weighted_feature_matching_loss(real: Sequence[Sequence[Tensor]], fake: Sequence[Sequence[Tensor]]) -> Tensor:
    """pix2pixHD's Eq. 4 as its public code weighs it: the mean absolute difference of every layer but the logits.

    Each layer counts ``4 / (strided + 1) / scales``, a discriminator having so many strided layers and its logits, and
    one more; with three strided layers and two scales 1/2, which the public weight of 10 makes 5.

    Args:
        real: for each scale its layers' outputs for real images, logits last; no gradient flows into them.
        fake: the same for synthesized images.
    """
    total = []
    for real_layers, fake_layers in zip(real, fake, strict=True):
        strided = len(real_layers) - PLAIN_LAYERS
        weight = LAYER_SHARE / (strided + 1) / len(real)
        pairs = zip(real_layers[:-1], fake_layers[:-1], strict=True)
        total += [weight * (of_fake.float() - of_real.detach().float()).abs().mean() for of_real, of_fake in pairs]
    return torch.stack(total).sum()


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
