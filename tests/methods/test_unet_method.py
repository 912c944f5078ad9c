"""The segmenter."""

from __future__ import annotations

import math

import pytest
import torch

from lesionlab.methods.base import Segmenter, Synthesizer
from lesionlab.methods.registry import make_method
from lesionlab.metrics import sample_quality
from lesionlab.training.stepping import TrainingStep

SMALL = {"network": {"width": 4, "depth": 2}}


def step(method, batch, update):
    """A step on a batch, as the loop takes it."""
    return method.training_step({"slices": batch}, TrainingStep(0, 1, update))


def steps(method, batch, count):
    optimizer = method.optimizers()["U"]

    def update(name, loss):
        assert name == "U"
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    return [step(method, batch, update) for _ in range(count)]


def test_learns_two_slices(task, batch):
    method = make_method("unet", {**SMALL, "adam": {"rate": 1e-2}}, task)
    history = steps(method, batch, 60)
    assert history[-1]["U/total"] < 0.3 * history[0]["U/total"]
    probabilities = method.segment(batch.images)
    assert (probabilities.argmax(1) == batch.labels).float().mean() > 0.95


@pytest.mark.parametrize(
    ("loss", "terms"), [("dice_ce", {"dice", "cross_entropy"}), ("dice", {"dice"}), ("ce", {"cross_entropy"})]
)
def test_losses(task, batch, loss, terms):
    method = make_method("unet", {**SMALL, "loss": loss}, task)
    with torch.no_grad():
        method.U.head.weight.zero_()
    measured = steps(method, batch, 1)[0]
    assert set(measured) == {f"U/{name}" for name in (*terms, "total")}
    assert measured["U/total"].item() == pytest.approx(sum(measured[f"U/{t}"].item() for t in terms))
    if "cross_entropy" in terms:  # every class has probability 1/4
        assert measured["U/cross_entropy"].item() == pytest.approx(math.log(4))


def test_every_parameter_gets_a_gradient(task, batch):
    method = make_method("unet", SMALL, task)
    steps(method, batch, 1)
    idle = [name for name, p in method.named_parameters() if p.grad is None or p.grad.abs().sum() == 0]
    assert idle == []


def test_segmentation(task, batch):
    method = make_method("unet", SMALL, task)
    assert isinstance(method, Segmenter) and not isinstance(method, Synthesizer)
    probabilities = method.segment(batch.images)
    assert probabilities.shape == (2, 4, 32, 16) and not probabilities.requires_grad
    assert torch.allclose(probabilities.sum(1), torch.ones(2, 32, 16), atol=1e-5)


def test_pictures(task, batch):
    pictures = make_method("unet", SMALL, task).pictures(batch)
    assert set(pictures) == {"real", "truth", "predicted"}
    # Labels 0..3 over [-1, 1].
    assert pictures["truth"].unique().tolist() == pytest.approx([-1, -1 / 3, 1 / 3, 1])


def test_features_are_the_lowest_levels_maps_averaged_over_the_slice(task, batch):
    method = make_method("unet", SMALL, task)
    found = method.features(batch.images)
    expected = sample_quality.pooled_features(method.U, sample_quality.UNET_BOTTLENECK, batch.images)
    assert found.shape == (len(batch.images), 16) and found.numpy().tolist() == expected.tolist()
    assert method.training  # the mode that was set comes back
