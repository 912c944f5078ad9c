"""CG-SAMR's training step and what it can do."""

from __future__ import annotations

import copy

import pytest
import torch

from lesionlab.errors import InputError
from lesionlab.losses.confidence import shrink
from lesionlab.methods.base import Segmenter, Synthesizer, frozen
from lesionlab.methods.cgsamr import CGSAMROptions
from lesionlab.methods.registry import make_method
from lesionlab.training.stepping import TrainingStep


def step(method, batch, update):
    """A step on a batch, as the loop takes it."""
    return method.training_step({"slices": batch}, TrainingStep(0, 1, update))


class Updater:
    """Steps as the loop takes them, and remembers the losses."""

    def __init__(self, method):
        self.optimizers, self.losses, self.order = method.optimizers(), {}, []

    def __call__(self, name, loss):
        self.optimizers[name].zero_grad(set_to_none=True)
        loss.backward()
        self.optimizers[name].step()
        self.losses[name] = loss.item()
        self.order.append(name)


@pytest.fixture
def method(small, task):
    return make_method("cgsamr", small, task, seed=3)


def test_defaults_are_the_papers():
    options = CGSAMROptions()
    assert (options.generator.downs, options.generator.encoder_blocks, options.generator.decoder_blocks) == (4, 3, 3)
    assert options.generator.guidance == "half" and not options.generator.share_guidance
    assert options.discriminator.loss == "log"
    weights = options.weights
    assert (weights.adversarial, weights.feature_matching, weights.shape_consistency, weights.confidence) == (
        1,
        5,
        1,
        1,
    )
    assert weights.reconstruction == 0  # no term of Eq. 6
    assert (options.lambda_cm.high, options.lambda_cm.low, options.lambda_cm.threshold) == (0.1, 0.03, 0.7)
    assert (options.adam.rate, options.adam.betas) == (2e-4, (0.5, 0.999))


def test_discriminators_may_have_their_own_rate(small, task):
    slow = {**small, "discriminator": {**small["discriminator"], "rate": 1e-4}}
    rates = {n: o.param_groups[0]["lr"] for n, o in make_method("cgsamr", slow, task).optimizers().items()}
    assert rates == {"D": 1e-4, "G": 2e-4}


def test_discriminators_of_the_paper_see_25_channels(small, task):
    paper = task.model_copy(update={"sequences": tuple("abcde"), "lesion_classes": tuple("xyz")})
    method = make_method("cgsamr", small, paper)
    assert len(method.D.discriminators) == 6
    assert method.D.discriminators[0].layers[0][0].in_channels == 25  # 5 labels, 15 atlas planes, 5 images


def test_a_step_updates_d_then_g_and_reaches_every_parameter(method, batch):
    update = Updater(method)
    touched: dict[str, set[str]] = {"D": set(), "G": set()}

    def watched(name, loss):
        for parameter in method.parameters():
            parameter.grad = None
        update(name, loss)
        touched[name] |= {n for n, p in method.named_parameters() if p.grad is not None and p.grad.abs().sum() > 0}

    step(method, batch, watched)
    assert update.order == ["D", "G"]
    assert touched["D"] == {n for n, _ in method.named_parameters() if n.startswith("D.")}
    # Nothing of D, all of G and U: the discriminators' step leaves no gradient in G, nor G's any in D.
    assert touched["G"] == {n for n, _ in method.named_parameters() if not n.startswith("D.")}


def test_the_update_of_d_leaves_g_alone(method, batch):
    before = copy.deepcopy(method.G.state_dict())
    optimizers = method.optimizers()

    def d_only(name, loss):
        if name == "D":
            loss.backward()
            assert all(p.grad is None for p in [*method.G.parameters(), *method.U.parameters()])
            optimizers["D"].step()

    step(method, batch, d_only)
    assert all(torch.equal(value, before[name]) for name, value in method.G.state_dict().items())


def test_parameters_of_d_are_trainable_again_after_a_step(method, batch):
    step(method, batch, Updater(method))
    assert all(p.requires_grad for p in method.D.parameters())
    with pytest.raises(RuntimeError, match="inside"), frozen(method.D):
        assert not any(p.requires_grad for p in method.D.parameters())
        raise RuntimeError("inside")
    assert all(p.requires_grad for p in method.D.parameters())


def test_total_is_the_weighted_sum_of_equation_6(method, batch):
    update = Updater(method)
    losses = step(method, batch, update)
    total = (
        losses["G/adversarial"]
        + 5 * losses["G/feature_matching"]
        + losses["G/shape_consistency"]
        + losses["G/confidence"]
    )
    assert update.losses["G"] == pytest.approx(total.item(), rel=1e-5)
    assert all(not value.requires_grad and value.ndim == 0 for value in losses.values())
    assert losses["lambda_cm"].item() == pytest.approx(0.03 if losses["mean_confidence"] > 0.7 else 0.1)


def test_a_weight_of_zero_leaves_a_term_out(small, task, batch):
    method = make_method("cgsamr", {**small, "weights": {"adversarial": 0, "feature_matching": 0}}, task)
    update = Updater(method)
    losses = step(method, batch, update)
    assert update.losses["G"] == pytest.approx(
        (losses["G/shape_consistency"] + losses["G/confidence"]).item(), rel=1e-5
    )


def test_reconstruction_is_the_mean_absolute_difference(small, task, batch):
    of_the_paper = ("adversarial", "feature_matching", "shape_consistency", "confidence")
    weights = {**dict.fromkeys(of_the_paper, 0), "reconstruction": 10}
    method = make_method("cgsamr", {**small, "weights": weights}, task)
    with torch.no_grad():  # no weights at the branches' ends: every image is tanh(0) = 0
        for branch in method.G.decoder.branches:
            branch.head[1].weight.zero_()
            branch.head[1].bias.zero_()
    update = Updater(method)
    losses = step(method, batch, update)
    assert losses["G/reconstruction"].item() == pytest.approx(batch.images.abs().mean().item(), rel=1e-5)
    assert update.losses["G"] == pytest.approx(10 * batch.images.abs().mean().item(), rel=1e-5)


def test_an_undecided_discriminator_costs_what_equation_2_says(method, batch):
    with torch.no_grad():
        for patch in method.D.discriminators:
            patch.layers[-1].weight.zero_()
    losses = step(method, batch, lambda name, loss: None)
    # Logits 0, so D = 1/2 everywhere: each of six costs -2 log(1/2) for D and -log(1/2) for G.
    half = torch.log(torch.tensor(2.0)).item()
    assert losses["D/adversarial"].item() == pytest.approx(12 * half, rel=1e-5)
    assert losses["G/adversarial"].item() == pytest.approx(6 * half, rel=1e-5)


def test_inputs_of_a_step_stay_as_they_were(method, batch):
    before = [part.clone() for part in batch.tensors.values()]
    step(method, batch, Updater(method))
    assert all(torch.equal(part, kept) for part, kept in zip(batch.tensors.values(), before, strict=True))


def test_a_batch_without_lesions_trains(method, batch):
    healthy = batch.replace(labels=batch.labels.clamp(max=1))
    losses = step(method, healthy, Updater(method))
    assert all(torch.isfinite(value) for value in losses.values())


@pytest.mark.parametrize(
    "change",
    [
        {"generator": {"guidance": "released", "downs": 3, "share_guidance": True}},
        {"generator": {"norm": "batch"}, "discriminator": {"norm": "batch"}},
        {"discriminator": {"loss": "least_squares"}},
        {"discriminator": {"saturating": True}},
    ],
    ids=["released layout", "batch norm", "least squares", "saturating"],
)
def test_options_train(small, task, batch, change):
    options = {part: {**small[part], **change.get(part, {})} for part in small}
    method = make_method("cgsamr", options, task)
    losses = step(method, batch, Updater(method))
    assert all(torch.isfinite(value) for value in losses.values())


def test_training_fits_two_slices(small, task, batch):
    # Narrow discriminators would leave the images undetermined: many excite two feature maps alike.
    wide = {**small, "discriminator": {"width": 16, "norm": "instance"}, "adam": {"rate": 2e-3}}
    method = make_method("cgsamr", wide, task, seed=0)
    update = Updater(method)

    def against_idle_discriminators(name, loss):
        if name == "G":  # while D learns too, what it judges need not fall
            update(name, loss)

    def errors():
        made = method.confidence(batch)
        return (made.images - batch.images).abs().mean(), (made.coarse - shrink(batch.images, made.coarse)).abs().mean()

    untrained = errors()
    history = [step(method, batch, against_idle_discriminators) for _ in range(100)]
    # Seeds 0 to 3 reach at most 0.02, 0.80 and 0.26 of the first losses, and 0.33 of the first error.
    for name, share in (("feature_matching", 0.1), ("shape_consistency", 0.9), ("confidence", 0.6)):
        assert history[-1][f"G/{name}"] < share * history[0][f"G/{name}"], name
    gains = [float(after / before) for after, before in zip(errors(), untrained, strict=True)]
    assert max(gains) < 0.6, gains


def test_synthesis(method, batch):
    assert isinstance(method, Synthesizer) and not isinstance(method, Segmenter)
    method.train()
    images = method.synthesize(batch)
    assert images.shape == batch.images.shape and images.dtype == torch.float32 and not images.requires_grad
    assert method.training  # the mode comes back
    background = (batch.labels == 0).unsqueeze(1).expand_as(images)
    assert (images[background] == -1).all() and (images[~background] > -1).any()
    made = method.confidence(batch)
    assert torch.equal(made.images, images) and made.confidence.shape == (2, 2, 16, 8)


def test_background_can_be_left_to_the_generator(small, task, batch):
    method = make_method("cgsamr", {**small, "mask_background": False}, task)
    background = (batch.labels == 0).unsqueeze(1).expand_as(batch.images)
    assert (method.synthesize(batch)[background] != -1).any()


def test_pictures_of_a_batch(method, batch):
    pictures = method.pictures(batch)
    assert {name: p.shape[:2] for name, p in pictures.items()} == dict.fromkeys(
        ("real", "synthetic", "coarse", "confidence"), (2, 2)
    )
    assert all(p.abs().max() <= 1 for p in pictures.values())


def test_slices_that_cannot_be_halved_are_refused(method, batch):
    odd = batch.replace(**{name: part[..., :30, :] for name, part in batch.tensors.items()})
    with pytest.raises(InputError, match=r"30 x 16.*multiples of 4"):
        method.check({"slices": odd})
    with pytest.raises(InputError, match="multiples of 4"):
        method.synthesize(odd)


def test_losses_are_float32_and_finite_under_bf16(method, batch):
    with torch.autocast("cpu", dtype=torch.bfloat16, cache_enabled=False):
        losses = step(method, batch, Updater(method))
    assert all(value.dtype == torch.float32 and torch.isfinite(value) for value in losses.values())
