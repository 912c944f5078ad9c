"""Convolutions in another order against torch's own."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional

from lesionlab.networks.blocks import ReflectionPad
from lesionlab.networks.convolutions import FEW, ByMatrixProduct, OfManyChannels, ToFewChannels, patches

LAST = torch.channels_last


def gradients(output, inputs):
    weights = torch.linspace(-1, 1, output.numel()).view(output.shape)
    return torch.autograd.grad((output.float() * weights).sum(), inputs)


@pytest.mark.parametrize("layout", [torch.contiguous_format, LAST], ids=["contiguous", "channels last"])
@pytest.mark.parametrize(("outputs", "kernel", "bias"), [(1, 7, True), (5, 7, True), (2, (3, 4), False)])
def test_few_channels_are_torchs(outputs, kernel, bias, layout):
    torch.manual_seed(0)
    layer = ToFewChannels(6, outputs, kernel, bias=bias)
    x = torch.randn(2, 6, 12, 15).to(memory_format=layout).requires_grad_()
    leaves = [x, *layer.parameters()]
    made, expected = layer(x), functional.conv2d(x, layer.weight, layer.bias)
    torch.testing.assert_close(made, expected, rtol=1e-5, atol=1e-5)
    for given, wanted in zip(gradients(made, leaves), gradients(expected, leaves), strict=True):
        torch.testing.assert_close(given, wanted, rtol=1e-4, atol=1e-4)


def test_columns_by_hand():
    # One row 1 2 3 4, kernel 10 1: 10 * 1 + 2, 10 * 2 + 3, 10 * 3 + 4.
    layer = ToFewChannels(1, 1, (1, 2), bias=False)
    with torch.no_grad():
        layer.weight.copy_(torch.tensor([10.0, 1.0]).view(1, 1, 1, 2))
    assert layer(torch.tensor([[[[1.0, 2.0, 3.0, 4.0]]]])).tolist() == [[[[12.0, 23.0, 34.0]]]]


def test_few_channels_keep_float32_under_autocast():
    layer, x = ToFewChannels(6, 1, 7), torch.randn(2, 6, 12, 15)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        made = layer(x)
    assert made.dtype == torch.float32
    # 294 products of values rounded to 2^-9 each, weights below 1/17: the sum is off by about 0.4 % of its spread.
    assert (made - layer(x)).std() < 0.01 * made.std()


@pytest.mark.parametrize(("side", "special"), [(6, True), (12, False)])
def test_many_channels_are_torchs(side, special):
    torch.manual_seed(0)
    channels = 16
    assert (2 * (side - 2) ** 2 < FEW * channels) == special
    layer = OfManyChannels(channels, channels, 3, bias=False).to(memory_format=LAST)
    x = torch.randn(2, channels, side, side).to(memory_format=LAST).requires_grad_()
    with torch.autocast("cpu", dtype=torch.bfloat16, cache_enabled=False):
        made = layer(x)
    assert made.dtype == torch.bfloat16 and ("ByMatrixProduct" in type(made.grad_fn).__name__) == special
    leaves = [x, layer.weight]
    expected = functional.conv2d(*leaves)
    for given, wanted in zip(gradients(made, leaves), gradients(expected, leaves), strict=True):
        assert given.dtype == torch.float32 and (given - wanted).norm() < 0.01 * wanted.norm()
    assert gradients(layer(x), leaves)[1].stride() == layer.weight.stride()
    torch.testing.assert_close(layer(x), expected)  # without autocast it is torch's


def test_a_gradient_that_nobody_asks_for_is_not_computed():
    x, weight = torch.randn(1, 4, 5, 5).to(torch.bfloat16).to(memory_format=LAST), torch.randn(8, 4, 3, 3)
    ByMatrixProduct.apply(x.requires_grad_(), weight).float().sum().backward()
    assert x.grad is not None and weight.grad is None
    ByMatrixProduct.apply(x.detach(), weight.requires_grad_()).float().sum().backward()
    assert weight.grad.shape == weight.shape


def test_patches_by_hand():
    # Two channels, 0.. and 10.., on 2 x 3 pixels; windows of 2 x 2: pixel by pixel, channels within each.
    x = torch.stack([torch.arange(6.0).view(2, 3), 10 + torch.arange(6.0).view(2, 3)])[None]
    assert patches(x, 2, 2).tolist() == [[0, 10, 1, 11, 3, 13, 4, 14], [1, 11, 2, 12, 4, 14, 5, 15]]


def test_padding_keeps_precision_under_autocast():
    x = torch.randn(1, 2, 5, 6).to(torch.bfloat16)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        made = ReflectionPad(2)(x)
    assert made.dtype == torch.bfloat16
    assert torch.equal(made, functional.pad(x, (2, 2, 2, 2), mode="reflect"))
