"""PatchGAN and the label-wise, two-scale set of them."""

from __future__ import annotations

import pytest
import torch

from lesionlab.networks.patchgan import LabelWiseDiscriminators, PatchGAN, join


def test_layers_widths_and_sizes():
    # k4 p2: stride 2 takes 240 to 121, 61, 31; stride 1 adds one pixel: 32, 33.
    outputs = PatchGAN(3, 4, "batch")(torch.rand(2, 3, 240, 240))
    assert [o.shape for o in outputs] == [
        (2, 4, 121, 121), (2, 8, 61, 61), (2, 16, 31, 31), (2, 32, 32, 32), (2, 1, 33, 33)
    ]  # fmt: skip


def test_parameters_at_full_size():
    # 25 -> 64 -> 128 -> 256 -> 512 -> 1, k4; biases on the first and last layer, affine batch norm on the inner ones.
    inner = 16 * (64 * 128 + 128 * 256 + 256 * 512) + 2 * (128 + 256 + 512)
    ends = 16 * 25 * 64 + 64 + 16 * 512 + 1
    assert sum(p.numel() for p in PatchGAN(25, 64, "batch").parameters()) == inner + ends


def test_pix2pix_has_a_pixel_less_of_padding():
    # k4 p1: stride 2 halves 256 to 128, 64, 32; stride 1 loses a pixel: 31, 30.
    network = PatchGAN(6, 64, "batch", padding=1)
    sides = [layer.shape[-1] for layer in network(torch.rand(1, 6, 256, 256))]
    assert sides == [128, 64, 32, 31, 30]
    # 6 -> 64 -> 128 -> 256 -> 512 -> 1, k4; biases on the first and last layer, scale and shift on the inner ones.
    layers = 16 * (6 * 64 + 64 * 128 + 128 * 256 + 256 * 512 + 512) + 64 + 1 + 2 * (128 + 256 + 512)
    assert layers == 2_768_705  # "2.769 M", as the public code says of itself
    assert sum(p.numel() for p in network.parameters()) == layers


def test_a_logit_depends_on_70_by_70_pixels():
    network = PatchGAN(1, 1, "batch", padding=1).eval()  # running averages: no pixel acts through statistics
    for parameter in network.parameters():
        torch.nn.init.ones_(parameter)
    x = torch.rand(1, 1, 128, 128, requires_grad=True)
    # Backwards from one logit: k4 s1 sees 4, the next 7, then s2: 2 * 6 + 4 = 16, 2 * 15 + 4 = 34, 2 * 33 + 4 = 70.
    network(x)[-1][0, 0, 7, 7].backward()
    rows = x.grad[0, 0].abs().sum(1).nonzero()
    assert rows.max() - rows.min() + 1 == 70


def test_logits_are_not_squashed():
    network = PatchGAN(1, 2, "instance")
    with torch.no_grad():
        network.layers[-1].bias.fill_(5.0)
    assert network(torch.rand(1, 1, 32, 32))[-1].mean() > 1


def discriminators() -> LabelWiseDiscriminators:
    torch.manual_seed(0)
    return LabelWiseDiscriminators(4, 3, 2, "instance")


def masks(count: int = 2) -> torch.Tensor:
    parts = torch.zeros(count, 3, 32, 32)
    parts[:, 0, :8] = parts[:, 1, 8:24] = parts[:, 2, 24:] = 1
    return parts


def test_six_discriminators_region_by_region_full_before_half():
    network = discriminators()
    outputs = network(network.views(torch.rand(2, 4, 32, 32), masks()))
    assert len(outputs) == 6
    # 32 -> 17; halved first: 16 -> 9.
    assert [o[0].shape[-1] for o in outputs] == [17, 9] * 3


def test_arguments_stay_as_they_were():
    x, regions = torch.rand(2, 4, 32, 32), masks()
    before = x.clone(), regions.clone()
    network = discriminators()
    first = network(network.views(x, regions))
    second = network(network.views(x, regions))
    assert torch.equal(x, before[0]) and torch.equal(regions, before[1])
    assert all(
        torch.equal(a, b) for one, other in zip(first, second, strict=True) for a, b in zip(one, other, strict=True)
    )


@pytest.mark.parametrize("region", [0, 1, 2])
def test_each_sees_its_region_alone(region):
    network, x = discriminators(), torch.rand(1, 4, 32, 32)
    changed = x + (1 - masks(1)[:, region : region + 1])  # other everywhere else
    one, other = (network(network.views(seen, masks(1))) for seen in (x, changed))
    for scale in (0, 1):
        assert torch.equal(one[2 * region + scale][-1], other[2 * region + scale][-1])
    assert not torch.equal(one[2 * ((region + 1) % 3)][-1], other[2 * ((region + 1) % 3)][-1])


def test_masking_comes_before_pooling():
    # A pixel of 1 beside the region's edge would leak into it if pooling came first.
    x, region = torch.zeros(1, 1, 8, 8), torch.zeros(1, 1, 8, 8)
    x[..., 3, 3] = 1
    region[..., 4:, 4:] = 1
    full, half = discriminators().views(x, region)
    assert full.abs().max() == 0 and half.abs().max() == 0


def test_conditions_come_before_images():
    joined = join([torch.zeros(1, 2, 3, 3)], [torch.ones(1, 1, 3, 3)])
    assert joined[0][0, :, 0, 0].tolist() == [0, 0, 1]


@pytest.mark.parametrize(("norm", "several_gpus"), [("batch", False), ("batch", True), ("instance", False)])
def test_parts_of_a_batch_are_judged_as_if_each_came_alone(norm, several_gpus):
    torch.manual_seed(0)
    together, apart = PatchGAN(3, 2, norm), PatchGAN(3, 2, norm)
    apart.load_state_dict(together.state_dict())
    if several_gpus:  # a module without the process group that it would ask is as one on a CPU
        together = torch.nn.SyncBatchNorm.convert_sync_batchnorm(together)
    real, fake = torch.rand(2, 3, 32, 32), 5 * torch.rand(2, 3, 32, 32)  # statistics that differ
    joined = together(torch.cat([real, fake]), parts=2)
    for both, of_real, of_fake in zip(joined, apart(real), apart(fake), strict=True):
        torch.testing.assert_close(both, torch.cat([of_real, of_fake]), rtol=1e-4, atol=1e-5)
    for name, value in apart.state_dict().items():  # running statistics too, in the same order
        torch.testing.assert_close(together.state_dict()[name], value, rtol=1e-5, atol=1e-6)


def test_half_scale_averages_three_by_three():
    network = discriminators()
    halved = network.halve(torch.arange(16.0).view(1, 1, 4, 4))
    # Output (1, 1) is centred on input (2, 2), value 10: the mean of 5 6 7 9 10 11 13 14 15 is 10.
    # Output (0, 0) is centred on (0, 0), with only 0 1 4 5 inside: 2.5.
    assert halved[0, 0, 1, 1] == 10 and halved[0, 0, 0, 0] == 2.5
