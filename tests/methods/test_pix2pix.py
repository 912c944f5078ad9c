"""pix2pix: its losses by hand, the order of its updates, what its networks see, and how deep its U-Net is."""

from __future__ import annotations

import math

import pytest
import torch

from lesionlab.errors import InputError
from lesionlab.methods.base import Segmenter, Synthesizer, Task
from lesionlab.methods.pix2pix import Pix2PixOptions
from lesionlab.methods.registry import make_method
from lesionlab.training.stepping import TrainingStep

SMALL = {"generator": {"width": 2, "downs": 3}, "discriminator": {"width": 2}}
GREY = 0.25
LOG3 = math.log(3.0)


@pytest.fixture
def batch(batch):
    """Twice as wide: five convolutions of the PatchGAN leave nothing of 16 pixels."""
    return batch.map(lambda tensor: tensor.repeat_interleave(2, -1))


def nothing(name, loss):
    """An update that moves nothing."""


def step(method, batch, update=nothing):
    """A step on a batch, as the loop takes it."""
    return method.training_step({"slices": batch}, TrainingStep(0, 1, update))


def make_known(method, logit):
    """G makes grey images of everything, and D has one opinion of everything."""
    with torch.no_grad():
        head, last = method.G.head[1], method.D.layers[-1]
        head.weight.zero_(), head.bias.fill_(math.atanh(GREY))
        last.weight.zero_(), last.bias.fill_(logit)


def test_defaults_are_the_papers(task):
    options = Pix2PixOptions()
    assert (options.generator.width, options.generator.downs, options.generator.dropout) == (64, None, 0.5)
    assert (options.l1, options.adam.rate, options.adam.betas) == (100, 2e-4, (0.5, 0.999))
    kind = type(make_method("pix2pix", SMALL, task))
    assert kind.training_defaults == {"constant": 100, "decay": 100, "batch_size": 1}
    assert kind.prior is None and kind.claims == ()


def test_losses_of_equations_1_3_and_4(task, batch):
    method = make_method("pix2pix", SMALL, task)
    make_known(method, LOG3)  # D says 3/4 to everything
    losses = step(method, batch.replace(images=torch.full_like(batch.images, 1.0)))
    # Half of -log(3/4) for the real images and -log(1/4) for those made.
    assert losses["D/adversarial"].item() == pytest.approx(0.5 * (math.log(4 / 3) + math.log(4)), rel=1e-5)
    # G is told that 3/4 should be 1; every pixel is 1 - 1/4 away; 100 times that in the total.
    assert losses["G/adversarial"].item() == pytest.approx(math.log(4 / 3), rel=1e-5)
    assert losses["G/l1"].item() == pytest.approx(0.75, rel=1e-5)
    assert losses["G/total"].item() == pytest.approx(math.log(4 / 3) + 75, rel=1e-5)


def test_d_moves_first_and_g_plays_against_the_moved_one(task, batch):
    method, order = make_method("pix2pix", SMALL, task), []
    make_known(method, LOG3)

    def update(name, loss):
        order.append(name)
        if name == "D":
            make_known(method, -LOG3)  # it now says 1/4

    losses = step(method, batch, update)
    assert order == ["D", "G"]
    assert losses["G/adversarial"].item() == pytest.approx(math.log(4), rel=1e-5)


def test_each_update_reaches_its_own_network_alone(task, batch):
    method, touched = make_method("pix2pix", SMALL, task), {}

    def update(name, loss):
        method.zero_grad(set_to_none=True)
        loss.backward()
        touched[name] = {key for key, p in method.named_parameters() if p.grad is not None and p.grad.abs().sum() > 0}

    step(method, batch, update)
    every = {key for key, _ in method.named_parameters()}
    assert touched == {name: {key for key in every if key.startswith(f"{name}.")} for name in ("D", "G")}


def test_both_networks_see_the_label_map_and_nothing_else_of_the_anatomy(task, batch):
    method = make_method("pix2pix", SMALL, task)
    assert method.G.downs[0][0].in_channels == task.classes
    assert method.D.layers[0][0].in_channels == task.classes + task.channels
    assert isinstance(method, Synthesizer) and not isinstance(method, Segmenter)
    other = batch.replace(labels=batch.labels.flip(-1).roll(2, -1))
    assert not torch.equal(method.synthesize(batch.only(("labels",))), method.synthesize(other.only(("labels",))))
    assert not torch.equal(method.judge(batch), method.judge(other))  # the same images, another condition


def test_background_is_black_unless_told_otherwise(task, batch):
    outside = (batch.labels == 0).unsqueeze(1).expand_as(batch.images)
    made = [make_method("pix2pix", {**SMALL, "mask_background": m}, task).synthesize(batch) for m in (True, False)]
    assert (made[0][outside] == -1).all() and (made[1][outside] != -1).all()
    assert torch.equal(made[0][~outside], made[1][~outside])


@pytest.mark.parametrize(
    ("size", "given", "depth"),
    [((256, 256), None, 8), ((80, 96), None, 4), ((64, 80), None, 4), ((80, 96), 2, 2), (None, None, 8)],
)
def test_the_depth_follows_the_sides(task, size, given, depth):
    options = {"generator": {"width": 1, "downs": given}, "discriminator": {"width": 1}}
    method = make_method("pix2pix", options, task.model_copy(update={"size": size}))
    assert len(method.G.downs) == depth
    assert method.side_multiple(method.options) == (4 if given is None else 2**given)


def test_sides_that_the_networks_cannot_halve_are_refused():
    # Built for 80 x 96, which are halved four times; 84 x 96 are multiples of 4, but not of 16.
    task = Task(sequences=("T1w",), lesion_classes=("tumor",), size=(80, 96))
    method = make_method("pix2pix", {"generator": {"width": 1}, "discriminator": {"width": 1}}, task)
    with pytest.raises(InputError, match="multiples of 16"):
        method.check_labels(torch.zeros(1, 84, 96, dtype=torch.int64))
    method.check_labels(torch.zeros(1, 80, 96, dtype=torch.int64))


@pytest.mark.parametrize("at_test", [False, True])
def test_dropout_at_test_makes_other_images_each_time(task, at_test):
    options = {"generator": {"width": 1, "downs": 4, "dropout_at_test": at_test}, "discriminator": {"width": 1}}
    method = make_method("pix2pix", options, task)
    x = torch.rand(1, task.classes, 32, 32)
    assert torch.equal(method.eval().G(x), method.G(x)) is not at_test
