"""Adversarial losses against values worked out by hand."""

from __future__ import annotations

import math

import pytest
import torch

from lesionlab.losses.adversarial import discriminator_loss, generator_loss, sum_over

# Logits whose logistic value is a plain fraction: sigmoid(log 3) = 3/4, sigmoid(-log 3) = 1/4, sigmoid(0) = 1/2.
LOG3 = math.log(3.0)


def test_log_loss_of_the_discriminator():
    # real D = 3/4, 1/2; fake D = 1/4, 1/2:
    # -mean(log 3/4, log 1/2) - mean(log 3/4, log 1/2) = -(log 3/4 + log 1/2) = -log 3/8.
    real, fake = torch.tensor([LOG3, 0.0]), torch.tensor([-LOG3, 0.0])
    assert discriminator_loss(real, fake).item() == pytest.approx(-math.log(3 / 8))


def test_log_loss_survives_certain_discriminators():
    # sigmoid(200) is 1 in float32, so the logarithm of 1 - D would be infinite; the loss there is the logit itself.
    assert discriminator_loss(torch.tensor([200.0]), torch.tensor([200.0])).item() == pytest.approx(200.0)


def test_least_squares_loss_of_the_discriminator():
    # mean((2-1)^2, (1-1)^2) + mean(1^2, 3^2) = 0.5 + 5.
    loss = discriminator_loss(torch.tensor([2.0, 1.0]), torch.tensor([1.0, 3.0]), "least_squares")
    assert loss.item() == pytest.approx(5.5)


def test_generator_losses():
    fake = torch.tensor([-LOG3, 0.0])  # D = 1/4, 1/2
    # -mean(log 1/4, log 1/2) = (2 log 2 + log 2) / 2.
    assert generator_loss(fake).item() == pytest.approx(1.5 * math.log(2))
    # mean(log 3/4, log 1/2) = log(3/8) / 2.
    assert generator_loss(fake, saturating=True).item() == pytest.approx(math.log(3 / 8) / 2)
    # mean((-1-1)^2, (3-1)^2) = 4.
    assert generator_loss(torch.tensor([-1.0, 3.0]), "least_squares").item() == pytest.approx(4.0)


@pytest.mark.parametrize("saturating", [False, True])
def test_generator_is_pushed_towards_being_believed(saturating):
    logits = torch.tensor([-1.0], requires_grad=True)
    generator_loss(logits, saturating=saturating).backward()
    assert logits.grad.item() < 0  # descending raises the logit


def test_gradient_does_not_vanish_while_the_discriminator_wins():
    # d/dl of -log sigmoid(l) is sigmoid(l) - 1, about -1 at l = -20; of log(1 - sigmoid(l)) it is -sigmoid(l), about 0.
    slopes = []
    for saturating in (False, True):
        logits = torch.tensor([-20.0], requires_grad=True)
        generator_loss(logits, saturating=saturating).backward()
        slopes.append(logits.grad.item())
    assert slopes == pytest.approx([-1.0, 0.0], abs=1e-6)


def test_losses_are_float32_under_bf16():
    logits = torch.zeros(3, dtype=torch.bfloat16)
    assert discriminator_loss(logits, logits).dtype == generator_loss(logits).dtype == torch.float32


def test_sum_over_discriminators():
    assert sum_over([torch.tensor(1.0), torch.tensor(2.5)]).item() == pytest.approx(3.5)
