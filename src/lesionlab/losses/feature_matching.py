"""Feature matching: synthesized images should excite the discriminators as real ones do (CG-SAMR, Eq. 3)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional


def feature_matching_loss(real: Sequence[Sequence[Tensor]], fake: Sequence[Sequence[Tensor]]) -> Tensor:
    """Sum over discriminators and all their layers of the mean squared difference between features.

    Args:
        real: for each discriminator its layers' outputs for real images; no gradient flows into them.
        fake: the same for synthesized images.
    """
    terms = [
        functional.mse_loss(of_fake.float(), of_real.detach().float())
        for real_layers, fake_layers in zip(real, fake, strict=True)
        for of_real, of_fake in zip(real_layers, fake_layers, strict=True)
    ]
    return torch.stack(terms).sum()
