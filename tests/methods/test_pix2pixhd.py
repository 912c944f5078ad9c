"""pix2pixHD: its losses by hand, the order of its updates, and what its networks see."""

from __future__ import annotations

import math

import pytest
import torch

from lesionlab.errors import InputError
from lesionlab.losses.adversarial import discriminator_loss
from lesionlab.methods.pix2pixhd import Pix2PixHDOptions
from lesionlab.methods.registry import make_method
from lesionlab.training.stepping import TrainingStep

SMALL = {"generator": {"width": 2, "downs": 2, "blocks": 1}, "discriminator": {"width": 2}}
GREY = 0.25


def nothing(name, loss):
    """An update that moves nothing."""


def step(method, batch, update=nothing):
    """A step on a batch, as the loop takes it."""
    return method.training_step({"slices": batch}, TrainingStep(0, 1, update))


def make_grey(method, grey=GREY):
    """G makes grey images of everything."""
    with torch.no_grad():
        convolution = list(method.G.modules())[-3:]
        head = next(m for m in convolution if isinstance(m, torch.nn.Conv2d))
        head.weight.zero_(), head.bias.fill_(math.atanh(grey))


def make_certain(method, *logits):
    """The discriminator of each scale has one opinion of everything."""
    with torch.no_grad():
        for judge, logit in zip(method.D.scales, logits, strict=True):
            judge.layers[-1].weight.zero_(), judge.layers[-1].bias.fill_(logit)


def test_defaults_are_the_papers_and_the_public_codes(task):
    options = Pix2PixHDOptions()
    assert (options.generator.width, options.generator.downs, options.generator.blocks) == (64, 4, 9)
    play = options.discriminator
    assert (play.width, play.scales, play.loss, play.norm) == (64, 2, "least_squares", "instance")
    assert (options.feature_matching, options.reconstruction, options.adam.rate) == (10, 0, 2e-4)
    kind = type(make_method("pix2pixhd", SMALL, task))
    assert kind.training_defaults == {"constant": 100, "decay": 100, "batch_size": 1}
    assert kind.prior is None and kind.claims == (("pix2pixhd", "pix2pix"),)


def test_losses_of_equations_3_and_5(task, batch):
    method = make_method("pix2pixhd", {**SMALL, "reconstruction": 4.0}, task)
    make_grey(method), make_certain(method, 3.0, -1.0)
    losses = step(method, batch.replace(images=torch.full_like(batch.images, 0.75)))
    # Least squares, real 1, made 0, over two scales, half: ((3 - 1)^2 + 3^2 + (-1 - 1)^2 + 1) / 2.
    assert losses["D/adversarial"].item() == pytest.approx(9.0, rel=1e-5)
    # G wants 1 of both: (3 - 1)^2 + (-1 - 1)^2. Every pixel is 3/4 - 1/4 away.
    assert losses["G/adversarial"].item() == pytest.approx(8.0, rel=1e-5)
    assert losses["G/reconstruction"].item() == pytest.approx(0.5, rel=1e-5)
    matching = losses["G/feature_matching"].item()
    assert matching > 0 and losses["G/total"].item() == pytest.approx(8 + 10 * matching + 4 * 0.5, rel=1e-5)


def test_features_match_where_the_images_do(task, batch):
    method = make_method("pix2pixhd", SMALL, task)
    make_grey(method)
    losses = step(method, batch.replace(images=torch.full_like(batch.images, GREY)))
    assert losses["G/feature_matching"].item() == pytest.approx(0.0, abs=1e-4)


def test_g_moves_first_and_d_sees_what_was_made_before(task, batch):
    method, order = make_method("pix2pixhd", SMALL, task), []
    make_grey(method)
    still = step(method, batch)

    def update(name, loss):
        order.append(name)
        make_grey(method, -0.9)

    assert torch.equal(step(method, batch, update)["D/adversarial"], still["D/adversarial"])
    assert order == ["G", "D"]
    assert not torch.equal(step(method, batch)["D/adversarial"], still["D/adversarial"])


def test_each_update_reaches_its_own_network_alone(task, batch):
    method, touched = make_method("pix2pixhd", SMALL, task), {}

    def update(name, loss):
        method.zero_grad(set_to_none=True)
        loss.backward()
        touched[name] = {key for key, p in method.named_parameters() if p.grad is not None and p.grad.abs().sum() > 0}

    step(method, batch, update)
    every = {key for key, _ in method.named_parameters()}
    assert touched == {name: {key for key in every if key.startswith(f"{name}.")} for name in ("D", "G")}


@pytest.mark.parametrize("scales", [1, 3])
def test_there_may_be_other_scales_and_the_log_loss(task, batch, scales):
    options = {**SMALL, "discriminator": {"width": 2, "scales": scales, "loss": "log"}}
    method = make_method("pix2pixhd", options, task)
    make_certain(method, *[0.0] * scales)
    # A logit of 0 costs log 2 for real and for made images; half of both, for each scale.
    assert step(method, batch)["D/adversarial"].item() == pytest.approx(scales * math.log(2), rel=1e-5)
    assert discriminator_loss(torch.zeros(1), torch.zeros(1)).item() == pytest.approx(2 * math.log(2))


def test_both_networks_see_the_label_map_and_nothing_else_of_the_anatomy(task, batch):
    method = make_method("pix2pixhd", SMALL, task)
    assert method.D.scales[0].layers[0][0].in_channels == task.classes + task.channels
    other = batch.replace(labels=batch.labels.flip(-1).roll(2, -1))
    images = method.synthesize(batch.only(("labels",)))
    assert images.shape == batch.images.shape and not torch.equal(images, method.synthesize(other.only(("labels",))))
    assert not torch.equal(method.judge(batch), method.judge(other))


def test_the_judgement_is_the_mean_logit_of_both_scales(task, batch):
    method = make_method("pix2pixhd", SMALL, task)
    make_certain(method, 3.0, -1.0)
    assert method.judge(batch).tolist() == pytest.approx([1.0, 1.0])  # (3 - 1) / 2


def test_sides_that_the_networks_cannot_halve_are_refused(task):
    method = make_method("pix2pixhd", SMALL, task)
    assert method.side_multiple(method.options) == 4
    with pytest.raises(InputError, match="multiples of 4"):
        method.check_labels(torch.zeros(1, 18, 16, dtype=torch.int64))
