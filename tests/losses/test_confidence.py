"""The confidence map loss (Eq. 1): values by hand, its known optimum, and the rule for its weight."""

from __future__ import annotations

import math

import pytest
import torch

from lesionlab.losses.confidence import LambdaRule, confidence_loss, shrink


def test_value_by_hand():
    confidence = torch.tensor([0.5, 1.0]).view(1, 1, 1, 2)
    coarse, target = torch.tensor([0.4, 0.3]).view(1, 1, 1, 2), torch.tensor([0.0, 0.5]).view(1, 1, 1, 2)
    # mean(0.5 * 0.4, 1 * 0.2) - 0.1 * mean(log 0.5, log 1) = 0.2 + 0.05 log 2.
    loss = confidence_loss(confidence, coarse, target, 0.1)
    assert loss.item() == pytest.approx(0.2 + 0.05 * math.log(2), abs=1e-6)


def test_best_confidence_is_lambda_over_error():
    # c e - l log c has its minimum where e = l / c, so c* = min(1, l / e): 1, 1, 1/2, 1/4, 1/20 for l = 0.1.
    errors = torch.tensor([0.02, 0.1, 0.2, 0.4, 2.0])
    raw = torch.zeros(5, requires_grad=True)
    optimizer = torch.optim.Adam([raw], lr=0.05)
    for _ in range(3000):
        optimizer.zero_grad()
        confidence_loss(raw.clamp(max=8).sigmoid(), errors, torch.zeros(5), 0.1).backward()
        optimizer.step()
    found = raw.detach().sigmoid().tolist()
    assert found == pytest.approx([min(1.0, 0.1 / e) for e in errors.tolist()], abs=0.02)


def test_no_confidence_at_all_stays_finite():
    # log(1e-8) instead of log 0.
    loss = confidence_loss(torch.zeros(1), torch.ones(1), torch.zeros(1), 0.1)
    assert loss.item() == pytest.approx(0.1 * 8 * math.log(10), rel=1e-5)


def test_the_weight_pulls_confidence_up_and_the_error_pulls_it_down():
    confidence = torch.tensor([0.5, 0.5], requires_grad=True)
    confidence_loss(confidence, torch.tensor([0.1, 1.0]), torch.zeros(2), 0.1).backward()
    # d/dc of (c e - l log c) / 2 is (e - l / c) / 2: (0.1 - 0.2) / 2 and (1 - 0.2) / 2.
    assert confidence.grad.tolist() == pytest.approx([-0.05, 0.4], abs=1e-6)


@pytest.mark.parametrize(("mean", "weight"), [(0.5, 0.1), (0.69, 0.1), (0.71, 0.03), (0.99, 0.03)])
def test_lambda_falls_while_the_mean_confidence_is_above_the_threshold(mean, weight):
    maps = torch.tensor([mean - 0.01, mean + 0.01])
    assert LambdaRule().weight(maps).item() == pytest.approx(weight)


def test_shrink_averages_blocks():
    images = torch.arange(16.0).view(1, 1, 4, 4)
    # Top left block: (0 + 1 + 4 + 5) / 4 = 2.5, and so on.
    assert shrink(images, torch.zeros(1, 1, 2, 2)).flatten().tolist() == [2.5, 4.5, 10.5, 12.5]
    assert shrink(images, images) is images
