"""Training steps against the plain ones of benchmarks/plain_training.py, written without any of their shortcuts."""

from __future__ import annotations

import copy
import importlib.util
from pathlib import Path

import pytest
import torch

from lesionlab.methods.registry import make_method

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "plain_training.py"
STEPS = 3
RATE = 2e-3


@pytest.fixture(scope="module")
def plain():
    spec = importlib.util.spec_from_file_location("plain_training", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def options(name, norm="batch"):
    if name == "unet":
        return {"network": {"width": 4, "depth": 2, "norm": norm}, "adam": {"rate": 1e-3}}
    return {
        "generator": {"width": 8, "downs": 2, "norm": norm},
        "discriminator": {"width": 4, "norm": norm},
        "unet": {"width": 4, "depth": 2, "norm": norm},
        "weights": {"reconstruction": 10.0},
    }


def descent(optimizer):
    """Plain gradient descent: Adam's first steps divide a gradient by its size, also where it is but rounding."""
    return torch.optim.SGD(optimizer.param_groups[0]["params"], lr=RATE)


def train(method, batch, lower=False, channels_last=False):
    """Losses of a few steps as the loop takes them."""
    if channels_last:
        method.to(memory_format=torch.channels_last)
        batch = type(batch)(*(t.to(memory_format=torch.channels_last) if t.ndim == 4 else t for t in batch))
    optimizers, losses = {name: descent(own) for name, own in method.optimizers().items()}, []

    def update(name, loss):
        optimizers[name].zero_grad(set_to_none=True)
        with torch.autocast("cpu", enabled=False):
            loss.backward()
        optimizers[name].step()

    for _ in range(STEPS):
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=lower, cache_enabled=False):
            losses.append({name: value.item() for name, value in method.training_step(batch, update).items()})
    return losses


@pytest.mark.parametrize("channels_last", [False, True], ids=["contiguous", "channels last"])
@pytest.mark.parametrize(
    ("name", "norm"), [("cgsamr", "batch"), ("cgsamr", "instance"), ("samr", "batch"), ("unet", "batch")]
)
def test_in_float32_losses_and_weights_are_the_plain_steps(plain, task, batch, name, norm, channels_last):
    ours, theirs = (make_method(name, options(name, norm), task, seed=1) for _ in range(2))
    start = copy.deepcopy(theirs.state_dict())
    step = plain.plain_step(theirs, descent)
    expected = [{key: value.item() for key, value in step(batch).items()} for _ in range(STEPS)]
    for given, wanted in zip(train(ours, batch, channels_last=channels_last), expected, strict=True):
        assert {key: given[key] for key in wanted} == pytest.approx(wanted, rel=1e-4)  # sums in another order
    for key, value in theirs.state_dict().items():
        moved, apart = (value - start[key]).double().norm(), (ours.state_dict()[key] - value).double().norm()
        # Batch norm over few pixels magnifies rounding in the gradients of the layers before it.
        assert apart <= 0.05 * moved + 1e-6, key


@pytest.mark.parametrize("name", ["cgsamr", "samr", "unet"])
def test_in_bfloat16_losses_stay_close(plain, task, batch, name):
    ours, theirs = (make_method(name, options(name), task, seed=1) for _ in range(2))
    step = plain.plain_step(theirs, descent)
    expected = [{key: value.item() for key, value in step(batch).items()} for _ in range(STEPS)]
    for given, wanted in zip(train(ours, batch, lower=True, channels_last=True), expected, strict=True):
        # bfloat16 keeps 8 bits: 0.4 % per number, and a dozen layers and three steps of that; feature matching, a
        # difference of features, has the most of it.
        assert {key: given[key] for key in wanted} == pytest.approx(wanted, rel=0.1, abs=0.02)


@pytest.mark.parametrize("name", ["cgsamr", "samr", "unet"])
def test_weights_are_interchangeable_with_torchs_own_layers(plain, task, name):
    ours, theirs = (make_method(name, options(name), task, seed=seed) for seed in (1, 2))
    plain.plain_step(theirs)
    assert {k: v.shape for k, v in ours.state_dict().items()} == {k: v.shape for k, v in theirs.state_dict().items()}
    ours.load_state_dict(theirs.state_dict())
