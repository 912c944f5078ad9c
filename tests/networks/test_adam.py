"""Adam on weights in any memory format."""

from __future__ import annotations

import itertools

import pytest
import torch

from lesionlab.networks.adam import AdamOptions

FORMATS = (torch.contiguous_format, torch.channels_last)


@pytest.mark.parametrize(("of_weights", "of_gradients"), list(itertools.product(FORMATS, FORMATS)))
def test_steps_are_adams_in_every_layout(of_weights, of_gradients):
    # torch's fused kernel alone gets the mixed cases wrong on CPUs.
    torch.manual_seed(0)
    start, gradient = torch.randn(8, 4, 3, 3), torch.randn(8, 4, 3, 3)
    ends = []
    for build in (AdamOptions(rate=0.1).build, lambda p: torch.optim.Adam(p, 0.1, (0.5, 0.999), foreach=False)):
        weight, bias = torch.nn.Parameter(start.clone().to(memory_format=of_weights)), torch.nn.Parameter(torch.ones(8))
        optimizer = build([weight, bias])
        for step in range(1, 4):
            weight.grad = (gradient * step).to(memory_format=of_gradients)
            bias.grad = torch.arange(8.0) * step
            optimizer.step()
        ends.append((weight.detach(), bias.detach(), optimizer.state[weight]))
    for given, wanted in zip(ends[0][:2], ends[1][:2], strict=True):
        torch.testing.assert_close(given, wanted, rtol=1e-6, atol=1e-6)
    for name, value in ends[1][2].items():
        torch.testing.assert_close(ends[0][2][name].float(), value.float(), rtol=1e-5, atol=1e-6)


def test_a_state_of_another_layout_is_taken_over():
    torch.manual_seed(0)
    start, gradient = torch.randn(8, 4, 3, 3), torch.randn(8, 4, 3, 3)
    first = torch.nn.Parameter(start.clone())
    optimizer = AdamOptions(rate=0.1).build([first])
    first.grad = gradient.clone()
    optimizer.step()
    other = torch.nn.Parameter(first.detach().to(memory_format=torch.channels_last))
    continued = AdamOptions(rate=0.1).build([other])
    continued.load_state_dict(optimizer.state_dict())
    for parameter, one in ((first, optimizer), (other, continued)):
        parameter.grad = gradient.clone()
        one.step()
    torch.testing.assert_close(other.detach(), first.detach(), rtol=1e-6, atol=1e-6)
