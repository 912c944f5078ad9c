"""Networks that are compiled, or cannot be, and where what was trained is applied."""

from __future__ import annotations

import shutil

import pytest
import torch
from torch import nn

from lesionlab.methods.registry import make_method
from lesionlab.training.device import compile_networks, device_here
from lesionlab.training.loop import fit


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


@pytest.mark.skipif(shutil.which("g++") is None, reason="torch.compile needs a C++ compiler, which is not here")
def test_compiled_steps_are_the_plain_ones_up_to_rounding(tmp_path, bare, options, fresh):
    def trained(name: str, **changes) -> dict[str, torch.Tensor]:
        method = make_method("unet", {"network": {"width": 2, "depth": 1}}, fresh().task)
        fit(method, bare, options.model_copy(update=changes), tmp_path / name)
        return method.state_dict()

    plain, compiled = trained("plain"), trained("compiled", compile=True)
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] > 0  # it was compiled, not only asked to be
    for name, weights in plain.items():
        torch.testing.assert_close(compiled[name], weights, atol=1e-5, rtol=1e-4)


def test_a_method_is_applied_where_it_was_trained_if_that_is_here(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert [device_here(name).type for name in ("auto", "cuda", "cpu", "mps")] == ["cuda", "cuda", "cpu", "cpu"]
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    assert {device_here(name).type for name in ("auto", "cuda", "cpu", "mps")} == {"cpu"}
