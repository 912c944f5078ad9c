"""pix2pixHD's global generator and discriminators at several scales."""

from __future__ import annotations

import pytest
import torch

from lesionlab.networks.pix2pixhd import GlobalGenerator, MultiScaleDiscriminator


def test_generator_parameters_at_full_size():
    # 3 -> 3 channels, width 64, four strided layers, nine blocks; instance norm has no parameters. The public code
    # keeps biases that its norms cancel (21,376 of its 182,443,267); here the last layer alone has them.
    ends = 49 * (3 * 64 + 64 * 3) + 3
    strided = 9 * (64 * 128 + 128 * 256 + 256 * 512 + 512 * 1024)  # and as many on the way up
    blocks = 9 * 2 * 9 * 1024 * 1024
    assert ends + 2 * strided + blocks == 182_421_891
    # k7's 64, downs' 1920, blocks' 18 * 1024, ups' 960: biases before norms.
    assert 182_421_891 + 64 + 1920 + 18_432 + 960 == 182_443_267
    with torch.device("meta"):
        network = GlobalGenerator(3, 3, 64, 4, 9, "instance")
    assert sum(p.numel() for p in network.parameters()) == 182_421_891


@pytest.mark.parametrize(("height", "width", "downs"), [(80, 96, 4), (16, 24, 2)])
def test_images_have_the_size_of_the_slice(height, width, downs):
    images = GlobalGenerator(5, 3, 2, downs, 1, "instance")(torch.rand(2, 5, height, width))
    assert images.shape == (2, 3, height, width) and images.dtype == torch.float32 and images.abs().max() <= 1


def test_discriminator_parameters_at_full_size():
    # Two of 6 -> 64 -> 128 -> 256 -> 512 -> 1, k4, biases on the first and last layer alone, instance norm.
    one = 16 * (6 * 64 + 64 * 128 + 128 * 256 + 256 * 512 + 512) + 64 + 1
    network = MultiScaleDiscriminator(6, 64, "instance", 2)
    assert sum(p.numel() for p in network.parameters()) == 2 * one


def test_each_scale_has_five_layers_and_half_the_size():
    scales = MultiScaleDiscriminator(3, 2, "instance", 3)(torch.rand(1, 3, 64, 96))
    # k4 p2 s2 takes 64 to 33, 17, 9, then s1: 10, 11. Halved once 32: 17, 9, 5, 6, 7; twice 16: 9, 5, 3, 4, 5.
    assert [[layer.shape[-2] for layer in layers] for layers in scales] == [
        [33, 17, 9, 10, 11], [17, 9, 5, 6, 7], [9, 5, 3, 4, 5]
    ]  # fmt: skip
    assert [layers[-1].shape[1] for layers in scales] == [1, 1, 1]


def test_scales_share_no_weights_and_the_second_sees_averages():
    network = MultiScaleDiscriminator(1, 2, "instance", 2)
    assert not torch.equal(network.scales[0].layers[0][0].weight, network.scales[1].layers[0][0].weight)
    # Output (1, 1) is centred on input (2, 2): the mean of 5 6 7 9 10 11 13 14 15; (0, 0) has only 0 1 4 5 inside.
    halved = network.halve(torch.arange(16.0).view(1, 1, 4, 4))
    assert halved[0, 0, 1, 1] == 10 and halved[0, 0, 0, 0] == 2.5
