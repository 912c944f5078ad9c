"""The adversarial loss, in the papers' form (log) and the released codes' (least squares)."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional

GANLoss = Literal["log", "least_squares"]


def discriminator_loss(real: Tensor, fake: Tensor, kind: GANLoss = "log") -> Tensor:
    """What a discriminator minimises, given its logits for real and synthesized images (any shape).

    ``log``: ``-mean(log D(y)) - mean(log(1 - D(G(x))))``, the negative of CG-SAMR's Eq. 2 and of pix2pix's Eq. 1, D
    being the logistic function of the logits (computed without forming it, so that it never reaches log 0).
    ``least_squares``: ``mean((r - 1)^2) + mean(f^2)`` of the raw outputs (Mao et al. 2017). The public codes of
    pix2pix and pix2pixHD take half of either; so do the methods here.
    """
    real, fake = real.float(), fake.float()
    if kind == "log":
        return functional.softplus(-real).mean() + functional.softplus(fake).mean()
    return (real - 1).square().mean() + fake.square().mean()


def generator_loss(fake: Tensor, kind: GANLoss = "log", saturating: bool = False) -> Tensor:
    """What the generator minimises, given the discriminator's logits for its images (any shape).

    ``log``: ``-mean(log D(G(x)))``, whose gradient does not vanish while the discriminator wins (Goodfellow et
    al. 2014, section 3); ``saturating`` takes Eq. 2 to the letter instead: ``mean(log(1 - D(G(x))))``.
    ``least_squares``: ``mean((f - 1)^2)``.
    """
    fake = fake.float()
    if kind == "least_squares":
        return (fake - 1).square().mean()
    return -functional.softplus(fake).mean() if saturating else functional.softplus(-fake).mean()


def sum_over(losses: list[Tensor]) -> Tensor:
    """Sum of scalar losses over discriminators (Eq. 2, second line)."""
    return torch.stack(losses).sum()
