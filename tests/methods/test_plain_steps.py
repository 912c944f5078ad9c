"""Training steps against the plain ones of benchmarks/plain_training.py, written without any of their shortcuts."""

from __future__ import annotations

import copy
import importlib.util
from pathlib import Path

import pytest
import torch

from lesionlab.methods.registry import make_method
from lesionlab.training.stepping import TrainingStep

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "plain_training.py"
STEPS = 3
RATE = 2e-3


@pytest.fixture(scope="module")
def plain():
    spec = importlib.util.spec_from_file_location("plain_training", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


PAPERS, DEMO = {}, {"upsampling": "resized", "show_labels": True}  # generators


def options(name, norm="batch", layout=PAPERS):
    if name == "unet":
        return {"network": {"width": 4, "depth": 2, "norm": norm}, "adam": {"rate": 1e-3}}
    return {
        "generator": {"width": 8, "downs": 2, "norm": norm, **layout},
        "discriminator": {"width": 4, "norm": norm},
        "unet": {"width": 4, "depth": 2, "norm": norm},
        "weights": {"reconstruction": 10.0},
    }


def descent(optimizer):
    """Plain gradient descent: Adam's first steps divide a gradient by its size, also where it is but rounding."""
    return torch.optim.SGD(optimizer.param_groups[0]["params"], lr=RATE)


def train(method, batch, lower=False, channels_last=False, steps=STEPS):
    """Losses of a few steps as the loop takes them."""
    if channels_last:
        method.to(memory_format=torch.channels_last)
        batch = batch.map(lambda t: t.to(memory_format=torch.channels_last) if t.ndim == 4 else t)
    optimizers, losses = {name: descent(own) for name, own in method.optimizers().items()}, []

    def update(name, loss):
        optimizers[name].zero_grad(set_to_none=True)
        with torch.autocast("cpu", enabled=False):
            loss.backward()
        optimizers[name].step()

    for _ in range(steps):
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=lower, cache_enabled=False):
            found = method.training_step({"slices": batch}, TrainingStep(0, 1, update))
        losses.append({name: value.item() for name, value in found.items()})
    return losses


@pytest.mark.parametrize("channels_last", [False, True], ids=["contiguous", "channels last"])
@pytest.mark.parametrize(
    ("name", "norm", "layout"),
    [
        ("cgsamr", "batch", PAPERS),
        ("cgsamr", "instance", PAPERS),
        ("cgsamr", "batch", DEMO),
        ("samr", "batch", PAPERS),
        ("unet", "batch", PAPERS),
    ],
)
def test_in_float32_losses_and_weights_are_the_plain_steps(plain, task, batch, name, norm, layout, channels_last):
    ours, theirs = (make_method(name, options(name, norm, layout), task, seed=1) for _ in range(2))
    start = copy.deepcopy(theirs.state_dict())
    step = plain.plain_step(theirs, descent)
    steps = STEPS if layout == PAPERS else 1  # heads that see label maps move far in plain descent, rounding with them
    expected = [{key: value.item() for key, value in step(batch).items()} for _ in range(steps)]
    for given, wanted in zip(train(ours, batch, channels_last=channels_last, steps=steps), expected, strict=True):
        assert {key: given[key] for key in wanted} == pytest.approx(wanted, rel=1e-4)  # sums in another order
    for key, value in theirs.state_dict().items():
        moved, apart = (value - start[key]).double().norm(), (ours.state_dict()[key] - value).double().norm()
        # Batch norm over few pixels magnifies rounding in the gradients of the layers before it.
        assert apart <= 0.05 * moved + 1e-6, key


@pytest.mark.parametrize(("name", "layout"), [("cgsamr", PAPERS), ("cgsamr", DEMO), ("samr", PAPERS), ("unet", PAPERS)])
def test_in_bfloat16_losses_stay_close(plain, task, batch, name, layout):
    ours, theirs = (make_method(name, options(name, layout=layout), task, seed=1) for _ in range(2))
    step = plain.plain_step(theirs, descent)
    expected = [{key: value.item() for key, value in step(batch).items()} for _ in range(STEPS)]
    told = train(ours, batch, lower=True, channels_last=True)
    # bfloat16 keeps 8 bits: 0.4 % per number, and a dozen layers of that; feature matching, a difference of features,
    # has the most of it.
    assert {key: told[0][key] for key in expected[0]} == pytest.approx(expected[0], rel=0.02, abs=0.002)
    for given, wanted in zip(told, expected, strict=True) if layout == PAPERS else ():
        # Each step adds to it, most where a head sums label maps, whose pixels all pull one way in plain descent.
        assert {key: given[key] for key in wanted} == pytest.approx(wanted, rel=0.1, abs=0.02)


@pytest.mark.parametrize("name", ["cgsamr", "samr", "unet"])
def test_weights_are_interchangeable_with_torchs_own_layers(plain, task, name):
    ours, theirs = (make_method(name, options(name), task, seed=seed) for seed in (1, 2))
    plain.plain_step(theirs)
    assert {k: v.shape for k, v in ours.state_dict().items()} == {k: v.shape for k, v in theirs.state_dict().items()}
    ours.load_state_dict(theirs.state_dict())
