"""Dice losses (Eqs. 4 and 5) against values worked out by hand."""

from __future__ import annotations

import pytest
import torch

from lesionlab.losses.dice import generalized_dice_loss, shape_consistency_loss


def maps(*channels: list[float]) -> torch.Tensor:
    """``(1, K, 1, W)`` from one row per class."""
    return torch.tensor(channels).view(1, len(channels), 1, -1)


def test_two_classes_by_hand():
    truth = maps([1.0, 1.0, 0.0, 0.0], [0.0, 0.0, 1.0, 1.0])
    predicted = maps([0.5, 1.0, 0.5, 0.0], [0.5, 0.0, 0.5, 1.0])
    # Each class: overlap 1.5, sums 2 and 2: 1 - 2 * 1.5 / 4 = 0.25; the mean is 0.25.
    assert generalized_dice_loss(truth, predicted).item() == pytest.approx(0.25)


def test_sums_run_over_the_batch():
    # One class; slice 1: truth 1, predicted 1; slice 2: truth 0, predicted 1.
    # Over the batch: 1 - 2 * 1 / (1 + 2) = 1/3.
    # (The mean over slices would be (0 + 1) / 2.)
    truth = torch.tensor([1.0, 0.0]).view(2, 1, 1, 1)
    assert generalized_dice_loss(truth, torch.ones(2, 1, 1, 1)).item() == pytest.approx(1 / 3)


def test_classes_weigh_the_same_whatever_their_size():
    # Class 1 (three pixels) is right: 0. Class 2 (one pixel) is missed: 1 - 0 / (1 + 0) = 1. Mean 1/2.
    truth = maps([1.0, 1.0, 1.0, 0.0], [0.0, 0.0, 0.0, 1.0])
    predicted = maps([1.0, 1.0, 1.0, 0.0], [0.0, 0.0, 0.0, 0.0])
    assert generalized_dice_loss(truth, predicted).item() == pytest.approx(0.5)


def test_a_class_that_neither_holds_costs_nothing():
    truth = maps([1.0, 1.0], [0.0, 0.0])
    assert generalized_dice_loss(truth, truth).item() == pytest.approx(0.0, abs=1e-6)


def test_shape_consistency_adds_real_and_synthetic():
    truth = maps([1.0, 0.0])
    wrong, right = maps([0.0, 1.0]), maps([1.0, 0.0])
    # Right: 0; wrong: 1 - 0 / 2 = 1.
    assert shape_consistency_loss(truth, right, wrong).item() == pytest.approx(1.0)
    assert shape_consistency_loss(truth, wrong, wrong).item() == pytest.approx(2.0)
