"""Networks that are compiled, or cannot be."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from lesionlab.training.device import compile_networks


class Inner(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Conv2d(1, 2, 3)

    def forward(self, x):
        return torch.tanh(nn.functional.gelu(self.layer(x)))


class Outer(nn.Module):
    def __init__(self):
        super().__init__()
        self.G = Inner()


@pytest.fixture
def no_compiler(monkeypatch):
    from torch._inductor import config

    monkeypatch.setattr(torch._dynamo.config, "suppress_errors", False)
    torch._dynamo.reset()
    with config.patch({"cpp.cxx": ("/nonexistent/compiler",), "force_disable_caches": True}):
        yield
    torch._dynamo.reset()


def test_what_cannot_be_compiled_runs_as_it_is_and_is_told(no_compiler, caplog):
    method, x = Outer(), torch.rand(1, 1, 8, 8)
    expected = method.G(x)
    compile_networks(method)
    torch.testing.assert_close(method.G(x), expected)
    assert "No working C++ compiler found" in caplog.text
