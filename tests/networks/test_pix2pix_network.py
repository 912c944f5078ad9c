"""pix2pix's U-Net: size, layout, noise and statistics."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from lesionlab.networks.pix2pix import Dropout, PictureNorm, Pix2PixGenerator, halvings


def small(**changes) -> Pix2PixGenerator:
    torch.manual_seed(0)
    return Pix2PixGenerator(4, 2, **{"width": 2, "downs": 4, **changes})


@pytest.mark.parametrize(
    ("size", "count"),
    [((256, 256), 8), ((512, 512), 8), ((80, 96), 4), ((64, 80), 4), ((240, 240), 4), ((10, 32), 1), ((15, 16), 0)],
)
def test_sides_are_halved_while_both_are_even(size, count):
    # 80 = 16 * 5, 96 = 32 * 3: the lesser counts. 240 = 16 * 15. 512 could be halved 9 times, 8 are allowed.
    assert halvings(size, 8) == count


def test_parameters_at_full_size():
    # 3 -> 3 channels, 8 halvings, k4: 16 numbers for each pair of channels.
    down = 16 * (3 * 64 + 64 * 128 + 128 * 256 + 256 * 512 + 4 * 512 * 512)
    # Up: the lowest has no skip; the others take twice the channels, three times 512 to 512, then 256, 128, 64, 3.
    up = 16 * (512 * 512 + 3 * 1024 * 512 + 1024 * 256 + 512 * 128 + 256 * 64 + 128 * 3)
    # Scale and shift: not on the first and the lowest layer down, not on the last up, which has three biases.
    norms = 2 * (128 + 256 + 4 * 512) + 2 * (4 * 512 + 256 + 128 + 64)
    assert down + up + norms + 3 == 54_413_955  # "54.414 M", as the public code says of itself
    assert sum(p.numel() for p in Pix2PixGenerator(3, 3, 64, 8).parameters()) == 54_413_955


def test_norms_and_dropout_are_where_the_public_code_has_them():
    network = small(width=1, downs=8)
    assert [any(isinstance(layer, PictureNorm) for layer in down) for down in network.downs] == [
        False,
        *[True] * 6,
        False,
    ]
    assert all(any(isinstance(layer, PictureNorm) for layer in up) for up in network.ups)
    # Of seven layers up (and the head) the second, third and fourth.
    dropped = [any(isinstance(layer, Dropout) for layer in up) for up in network.ups]
    assert dropped == [False, True, True, True, False, False, False]
    # Of three layers up the two above the lowest.
    assert [any(isinstance(layer, Dropout) for layer in up) for up in small().ups] == [False, True, True]


@pytest.mark.parametrize(("height", "width", "downs"), [(80, 96, 4), (16, 24, 3), (4, 8, 2)])
def test_images_have_the_size_of_the_slice(height, width, downs):
    images = small(downs=downs)(torch.rand(2, 4, height, width))
    assert images.shape == (2, 2, height, width) and images.dtype == torch.float32 and images.abs().max() <= 1


@pytest.mark.parametrize("level", [0, 1])
def test_every_skip_reaches_the_images(level):
    network, x = small(downs=3).eval(), torch.rand(1, 4, 16, 16)
    before = network(x)
    way_down = network.downs[0](x) if level == 0 else network.downs[1](network.downs[0](x))
    network.downs[level].register_forward_hook(lambda module, inputs, made: made + torch.rand_like(made))
    network.downs[level + 1].register_forward_pre_hook(lambda module, inputs: way_down)  # which sees nothing of that
    assert not torch.allclose(network(x), before)


def test_at_test_a_picture_does_not_depend_on_its_company():
    network = small().eval()
    x = torch.rand(2, 4, 16, 16)
    torch.testing.assert_close(network(x)[:1], network(x[:1]))


def test_one_picture_is_made_alike_in_training_and_at_test():
    # Batch norm over one picture takes that picture's own statistics; dropout aside.
    network, x = small(dropout=0.0), torch.rand(1, 4, 32, 32)
    torch.testing.assert_close(network.train()(x), network.eval()(x))


def test_running_averages_where_told_so():
    norms = [module for module in small(statistics="training").modules() if isinstance(module, nn.BatchNorm2d)]
    assert norms and not any(isinstance(norm, PictureNorm) for norm in norms)
    assert not any(isinstance(m, nn.BatchNorm2d) for m in small(norm="instance").modules())


@pytest.mark.parametrize("at_test", [False, True])
def test_dropout_at_test(at_test):
    dropout, x = Dropout(0.5, at_test).eval(), torch.ones(1000)
    kept = (dropout(x) != 0).float().mean()
    assert (0.4 < kept < 0.6) if at_test else kept == 1
    assert dropout.train()(x).max() == 2  # what is left makes up for what is not
