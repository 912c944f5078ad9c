"""Feature matching (CG-SAMR's Eq. 3, pix2pixHD's Eq. 4) against values worked out by hand."""

from __future__ import annotations

import pytest
import torch

from lesionlab.losses.feature_matching import feature_matching_loss, weighted_feature_matching_loss


def test_sum_over_discriminators_and_layers_of_mean_squares():
    # First discriminator: layer 1 has 4 elements that differ by 2: 4 * 4 / 4 = 4; layer 2 has 2 that differ by
    # 1 and 3: (1 + 9) / 2 = 5. Second: one layer, one element, differs by 0.5: 0.25. In all 9.25.
    real = [[torch.zeros(1, 1, 2, 2), torch.tensor([0.0, 0.0])], [torch.tensor([1.0])]]
    fake = [[torch.full((1, 1, 2, 2), 2.0), torch.tensor([1.0, -3.0])], [torch.tensor([1.5])]]
    assert feature_matching_loss(real, fake).item() == pytest.approx(9.25)


def test_gradient_flows_into_the_synthesized_side_alone():
    real, fake = torch.zeros(2, requires_grad=True), torch.ones(2, requires_grad=True)
    feature_matching_loss([[real]], [[fake]]).backward()
    assert real.grad is None
    # d/df of mean(f^2) over two elements is f = 1.
    assert fake.grad.tolist() == pytest.approx([1.0, 1.0])


def test_layers_must_correspond():
    with pytest.raises(ValueError, match="zip"):
        feature_matching_loss([[torch.zeros(1)]], [[torch.zeros(1), torch.zeros(1)]])


def test_lower_precision_is_summed_in_float32():
    # 4096 differences of 1/16: their squares' mean is 2^-8 exactly; summed in bfloat16 it would stop growing at 1.
    real, fake = torch.zeros(4096, dtype=torch.bfloat16), torch.full((4096,), 1 / 16, dtype=torch.bfloat16)
    loss = feature_matching_loss([[real]], [[fake.requires_grad_()]])
    assert loss.dtype == torch.float32 and loss.item() == pytest.approx(2**-8)
    (5 * loss).backward()
    assert fake.grad.float().tolist() == pytest.approx([5 * 2 / 16 / 4096] * 4096, rel=0.01)


def scale(*values: float) -> list[torch.Tensor]:
    """Layers of one discriminator, two elements each."""
    return [torch.tensor([0.0, value]) for value in values]


def test_pix2pixhd_weighs_every_layer_but_the_logits():
    # Three strided layers, one more, logits: 4 / (3 + 1) / 2 scales = 1/2. Mean absolute differences of the first:
    # 2/2, 4/2, 6/2, 8/2, and the logits count nothing: 1/2 (1 + 2 + 3 + 4) = 5; of the second 2/2 each: 1/2 * 4 = 2.
    real = [scale(0, 0, 0, 0, 0), scale(0, 0, 0, 0, 0)]
    fake = [scale(2, 4, 6, 8, 100), scale(-2, -2, -2, -2, 100)]
    assert weighted_feature_matching_loss(real, fake).item() == pytest.approx(7.0)
    # One scale alone counts twice as much, 4 / (3 + 1): 10.
    assert weighted_feature_matching_loss(real[:1], fake[:1]).item() == pytest.approx(10.0)


def test_pix2pixhd_gradient_flows_into_the_synthesized_side_alone():
    real, fake = torch.zeros(2, requires_grad=True), torch.tensor([3.0, -3.0], requires_grad=True)
    logits = torch.zeros(1)
    weighted_feature_matching_loss([[real, real, logits]], [[fake, fake.detach(), logits]]).backward()
    assert real.grad is None
    # One strided layer: 4 / (1 + 1) = 2; d/df of the mean of two absolute values is sign(f) / 2.
    assert fake.grad.tolist() == pytest.approx([1.0, -1.0])
