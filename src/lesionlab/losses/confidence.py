"""The confidence map loss (CG-SAMR, Eq. 1) and the rule for its weight (section IV-B)."""

from __future__ import annotations

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor
from torch.nn import functional

EPSILON = 1e-8


class LambdaRule(BaseModel):
    """lambda_cm: ``high``, or ``low`` while the mean confidence of the batch is above ``threshold``."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    high: float = Field(0.1, gt=0)
    low: float = Field(0.03, gt=0)
    threshold: float = Field(0.7, gt=0, lt=1)

    def weight(self, confidence: Tensor) -> Tensor:
        """lambda_cm for a batch's confidence maps, a scalar tensor (no wait for the device)."""
        sure = confidence.detach().float().mean() > self.threshold
        return torch.where(sure, self.low, self.high)


def confidence_loss(confidence: Tensor, coarse: Tensor, target: Tensor, weight: Tensor | float) -> Tensor:
    """``mean(c |y^ - y|) - lambda_cm mean(log(c + 1e-8))``, over all pixels, sequences and slices.

    The best confidence for an error e is ``min(1, lambda_cm / e)``.

    Args:
        confidence: ``(N, C, h, w)`` in (0, 1).
        coarse: ``(N, C, h, w)`` coarse synthesized images.
        target: ``(N, C, h, w)`` real images at that size, see :func:`shrink`.
        weight: lambda_cm.
    """
    confidence = confidence.float()
    error = (coarse.float() - target.float()).abs()
    return (confidence * error).mean() - weight * torch.log(confidence + EPSILON).mean()


def shrink(images: Tensor, like: Tensor) -> Tensor:
    """Average ``(N, C, H, W)`` images over blocks, down to the height and width of ``like``."""
    factor = images.shape[-1] // like.shape[-1]
    return images if factor == 1 else functional.avg_pool2d(images, factor)
