"""Memory formats."""

from __future__ import annotations

import pytest
import torch

from lesionlab.networks.layout import aligned, in_memory_order, is_channels_last, join_channels, laid_out_like

LAST = torch.channels_last


@pytest.mark.parametrize("last", [False, True])
def test_joining_keeps_the_format_where_torch_would_lose_it(last):
    features = torch.randn(2, 3, 4, 5).to(memory_format=LAST if last else torch.contiguous_format)
    single = torch.randn(2, 1, 4, 5)
    joined = join_channels([features, single], features)
    assert torch.equal(joined, torch.cat([features, single], dim=1)) and is_channels_last(joined) == last
    assert is_channels_last(join_channels([single] * 3, features)) == last


def test_one_channel_tells_nothing():
    assert not is_channels_last(torch.randn(2, 1, 4, 5).to(memory_format=LAST))
    assert not is_channels_last(torch.randn(2, 3))


def test_laid_out_like():
    x, other = torch.randn(2, 3, 4, 5), torch.randn(1, 2, 4, 5).to(memory_format=LAST)
    assert is_channels_last(laid_out_like(x, other)) and laid_out_like(x, x) is x
    assert torch.equal(laid_out_like(x, other), x)


def test_aligned_and_in_memory_order():
    x, last = torch.randn(2, 3, 4, 5), torch.randn(2, 3, 4, 5).to(memory_format=LAST)
    assert aligned(x, last).stride() == last.stride() and aligned(last, x).stride() == x.stride()
    assert aligned(x, x) is x and torch.equal(aligned(x, last), x)
    view = in_memory_order(last)
    assert view.is_contiguous() and view.data_ptr() == last.data_ptr() and in_memory_order(x) is x
