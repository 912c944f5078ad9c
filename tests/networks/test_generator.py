"""Encoder and decoder of SAMR and CG-SAMR: shapes, ranges, sizes, and what is connected to what."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from lesionlab.networks.blocks import ResidualBlock, init_gan_weights, norm_layer, up_block
from lesionlab.networks.confidence import GuidanceModule
from lesionlab.networks.decoder import DecoderShape, StretchOutDecoder, guided_step
from lesionlab.networks.encoder import PriorEncoder


def generator(*, classes=5, sequences=5, width=2, downs=4, norm="instance", place="half", prior=True, **layout):
    encoder = PriorEncoder(classes, 3 * sequences if prior else 0, width, downs, 1, norm)
    shape = DecoderShape(downs=downs, blocks=1, norm=norm, guidance=place, **layout)
    return encoder, StretchOutDecoder(encoder.channels, sequences, shape)


def run(encoder, decoder, *, classes=5, sequences=5, height=96, width=80, count=1):
    latent = encoder(torch.rand(count, classes, height, width), torch.rand(count, 3 * sequences, height, width))
    return latent, decoder(latent)


@pytest.mark.parametrize(
    ("height", "width", "latent"), [(240, 240, (15, 15)), (96, 80, (6, 5))], ids=["240 has latents of 15", "96 x 80"]
)
def test_shapes(height, width, latent):
    code, made = run(*generator(), height=height, width=width)
    assert code.shape == (1, 2 * 2 * 2**4, *latent)  # two paths of width 2, doubled four times
    assert made.images.shape == (1, 5, height, width)
    assert made.coarse.shape == made.confidence.shape == (1, 5, height // 2, width // 2)


def test_two_sequences_and_three_classes():
    parts = generator(classes=3, sequences=2, downs=2)
    _, made = run(*parts, classes=3, sequences=2, height=32, width=16)
    assert made.images.shape == (1, 2, 32, 16)
    assert made.confidence.shape == (1, 2, 16, 8)


def test_released_place_comes_after_the_first_up_sampling():
    assert (guided_step("half", 4), guided_step("released", 4)) == (3, 1)
    _, made = run(*generator(place="released"))
    assert made.confidence.shape == (1, 5, 12, 10)  # latent 6 x 5, once enlarged
    assert made.images.shape == (1, 5, 96, 80)


def test_ranges():
    _, made = run(*generator(downs=2), height=16, width=16)
    assert made.images.abs().max() <= 1 and made.coarse.abs().max() <= 1
    assert made.confidence.min() > 0 and made.confidence.max() < 1


def test_sharing_keeps_one_pair_of_modules():
    separate, shared = generator()[1], generator(share=True)[1]
    assert (len(separate.guides), len(shared.guides)) == (5, 1)
    _, made = run(*generator(share=True, downs=2), height=16, width=16)
    assert made.images.shape[1] == 5


@pytest.mark.parametrize("place", [None, "half", "released"])
def test_resized_up_sampling_has_the_same_shapes_and_no_transposed_convolution(place):
    encoder, decoder = generator(downs=2, upsampling="resized", place=place)
    _, made = run(encoder, decoder, height=16, width=24)
    assert made.images.shape == (1, 5, 16, 24)
    assert not any(isinstance(module, nn.ConvTranspose2d) for module in decoder.modules())


def test_transposed_convolutions_leave_a_grid_and_resized_ones_do_not():
    """A constant latent, all weights alike: away from the rim every output pixel should be the same.

    A transposed k3 s2 meets pixels of even rows and columns with 1, of odd ones with 2 of 3 taps along each axis.
    """
    spread = {}
    for upsampling in ("transposed", "resized"):
        doubling = up_block(1, 1, "instance", upsampling)[:-2]  # without norm and ReLU
        for weight in doubling.parameters():
            nn.init.ones_(weight)
        inner = doubling(torch.ones(1, 1, 8, 8))[0, 0, 4:-4, 4:-4]
        spread[upsampling] = inner.unique().tolist()
    assert spread == {"transposed": [1.0, 2.0, 4.0], "resized": [9.0]}


def test_heads_that_see_the_label_map_follow_its_border_to_the_pixel():
    """With weights of 0 for all features, what is left of a head is a 7 x 7 window of the map."""
    encoder, decoder = generator(downs=2, place=None, classes=3, sequences=1, shown=3)
    labels = torch.zeros(1, 3, 16, 16)
    labels[:, 2, 5, 9] = 1
    latent = encoder(labels, torch.zeros(1, 3, 16, 16))
    head = decoder.branches[0].head[1]
    nn.init.zeros_(head.weight), nn.init.zeros_(head.bias)
    head.weight.data[0, -1, 3, 3] = 0.5  # the last class, at the window's centre
    expected = torch.zeros(1, 1, 16, 16)
    expected[0, 0, 5, 9] = torch.tanh(torch.tensor(0.5))
    torch.testing.assert_close(decoder(latent, labels).images, expected)


def test_without_guidance_there_are_images_alone():
    encoder, decoder = generator(place=None, downs=2, branch_blocks=1)
    _, made = run(encoder, decoder, height=16, width=16)
    assert made.images.shape == (1, 5, 16, 16) and made.coarse is None and made.confidence is None
    assert len(decoder.guides) == 0
    assert all(isinstance(branch.before[0], ResidualBlock) for branch in decoder.branches)  # SAMR's


@pytest.mark.parametrize("place", [None, "half", "released"])
def test_without_stretch_out_one_branch_ends_in_all_images(place):
    encoder, decoder = generator(place=place, downs=2, stretch_out=False)
    _, made = run(encoder, decoder, height=16, width=16)
    assert len(decoder.branches) == 1 and made.images.shape == (1, 5, 16, 16)
    assert place is None or (len(decoder.guides) == 1 and made.confidence.shape[1] == 5)


def test_without_a_prior_the_labels_alone_decide():
    encoder, decoder = generator(downs=2, prior=False)
    labels = torch.rand(1, 5, 16, 16)
    assert encoder.channels == 2 * 2**2  # one path of width 2, doubled twice
    made = [decoder(encoder(labels, atlas)).images for atlas in (torch.rand(1, 15, 16, 16), torch.zeros(1, 0, 16, 16))]
    assert torch.equal(*made)


def test_guidance_module_has_the_published_layers():
    # k1 c -> 32, k3 32 -> 16, k3 16 -> 16, k3 16 -> 1, with biases; c = 8 for SM, 9 for CM:
    # SM 8*32+32 + 9*32*16+16 + 9*16*16+16 + 9*16+1 = 7377; CM has 32 more weights in its first layer.
    module = GuidanceModule(8)
    assert sum(p.numel() for p in module.synthesis.parameters()) == 7377
    assert sum(p.numel() for p in module.confidence.parameters()) == 7377 + 32


def test_guidance_starts_alive():
    torch.manual_seed(0)
    features, module = torch.randn(2, 64, 16, 16).relu(), GuidanceModule(64)
    init_gan_weights(module)
    starved = module(features).image.std()
    module.initialise()
    # Four layers of N(0, 0.02), of fan-in 64, 288, 144 and 144, keep at most
    # 0.02^4 * sqrt(64 * 288 * 144 * 144) = 3e-3 of the input's spread; He's keep it.
    assert starved < 3e-3 and module(features).image.std() > 0.1


def test_the_coarse_image_reaches_the_final_one_through_the_confidence():
    encoder, decoder = generator(downs=2, sequences=1)
    latent = encoder(torch.rand(1, 5, 16, 16), torch.rand(1, 3, 16, 16))
    with torch.no_grad():
        trusting = decoder(latent).images
        decoder.guides[0].confidence[-2].bias.fill_(-1e3)  # the sigmoid then gives 0 everywhere
        blind = decoder(latent).images
    assert not torch.equal(trusting, blind)


def test_size_of_the_trunk_at_full_width():
    # f 64, n 4: trunk of 2 * 64 * 16 = 2048 channels, each block two k3 convolutions without bias, two affine norms.
    with torch.device("meta"):
        block = ResidualBlock(2048, "batch")
    assert sum(p.numel() for p in block.parameters()) == 2 * 9 * 2048**2 + 4 * 2048


def test_norms():
    assert isinstance(norm_layer("batch", 3), nn.BatchNorm2d)
    assert isinstance(norm_layer("instance", 3), nn.InstanceNorm2d)


def test_initial_weights():
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(16, 64, 7), nn.BatchNorm2d(64))
    init_gan_weights(network)
    weight = network[0].weight  # 50 176 draws: the error of their standard deviation is about 0.3 %
    assert weight.std().item() == pytest.approx(0.02, rel=0.02) and abs(weight.mean().item()) < 5e-4
    assert network[0].bias.abs().max() == 0 and network[1].bias.abs().max() == 0
    assert network[1].weight.mean().item() == pytest.approx(1.0, abs=0.02)
