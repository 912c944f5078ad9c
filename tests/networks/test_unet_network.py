"""The U-Net's shapes and size."""

from __future__ import annotations

import pytest
import torch

from lesionlab.networks.unet import UNet, UNetShape

SMALL = UNetShape(width=2, depth=3)


@pytest.mark.parametrize(("height", "width"), [(32, 24), (33, 21), (240, 240)])
def test_output_has_the_size_of_its_input(height, width):
    assert UNet(2, 5, SMALL)(torch.rand(1, 2, height, width)).shape == (1, 5, height, width)


def test_padding_does_not_matter_to_an_image_that_needs_none():
    torch.manual_seed(0)
    network = UNet(1, 2, SMALL).eval()
    image = torch.rand(1, 1, 16, 16)
    assert network._pad(image) is image
    assert network._pad(image[..., :13]).shape == (1, 1, 16, 16)


def test_parameters_at_full_size():
    # The published U-Net has 31.0 M; ours counts 1x1 head and norms for 5 inputs and classes too.
    count = sum(p.numel() for p in UNet(5, 5, UNetShape()).parameters())
    assert count == pytest.approx(31.0e6, rel=0.01)


def test_skip_connections_carry_detail():
    torch.manual_seed(0)
    network = UNet(1, 2, SMALL).eval()
    image = torch.rand(1, 1, 32, 32, requires_grad=True)
    with torch.no_grad():
        for up in network.ups:  # nothing comes up from below
            up.weight.zero_()
    network(image).sum().backward()
    assert image.grad.abs().sum() > 0


def test_dropout_acts_in_training_alone():
    torch.manual_seed(0)
    network = UNet(1, 2, UNetShape(width=2, depth=2, dropout=0.5, norm="instance"))
    image = torch.rand(1, 1, 16, 16)
    assert not torch.equal(network(image), network(image))
    network.eval()
    assert torch.equal(network(image), network(image))
