"""Dice losses of soft segmentations (CG-SAMR, Eqs. 4 and 5)."""

from __future__ import annotations

from torch import Tensor

EPSILON = 1e-7


def generalized_dice_loss(truth: Tensor, predicted: Tensor) -> Tensor:
    """``1 - 2 sum(r s) / (sum(r) + sum(s))`` per class over batch and space, then the mean over classes.

    Args:
        truth: ``(N, K, H, W)`` one-hot label maps.
        predicted: ``(N, K, H, W)`` class probabilities.

    A class that neither holds costs nothing. One that the truth lacks costs 1 as soon as its probability adds up to
    more than ``EPSILON``: a constant, whose gradient is all but 0.
    """
    truth, predicted = truth.float(), predicted.float()
    everywhere = (0, 2, 3)
    overlap = (truth * predicted).sum(everywhere)
    total = truth.sum(everywhere) + predicted.sum(everywhere)
    return (1 - (2 * overlap + EPSILON) / (total + EPSILON)).mean()


def shape_consistency_loss(truth: Tensor, of_real: Tensor, of_synthetic: Tensor) -> Tensor:
    """Eq. 5: Dice loss of the segmentation of real images plus that of synthesized ones.

    Args:
        truth: ``(N, K, H, W)`` one-hot label maps that both images were made from.
        of_real: ``(N, K, H, W)`` class probabilities for the real images.
        of_synthetic: the same for the synthesized images.
    """
    return generalized_dice_loss(truth, of_real) + generalized_dice_loss(truth, of_synthetic)
