"""SAMR, and the parts that the papers' ablation studies take away from it and from CG-SAMR."""

from __future__ import annotations

import pytest
import torch

from lesionlab.errors import InputError
from lesionlab.methods.base import Segmenter, Synthesizer
from lesionlab.methods.registry import make_method
from lesionlab.methods.samr import SAMROptions
from lesionlab.networks.labels import REGIONS
from lesionlab.training.stepping import TrainingStep

GENERATOR = {"width": 2, "downs": 2, "encoder_blocks": 1, "norm": "instance"}


def step(method, batch, update):
    """A step on a batch, as the loop takes it."""
    return method.training_step({"slices": batch}, TrainingStep(0, 1, update))


@pytest.fixture
def options(small) -> dict:
    """Options of a SAMR that takes milliseconds."""
    return {**small, "generator": GENERATOR}


def changed(options: dict, change: dict) -> dict:
    return {part: {**options.get(part, {}), **change.get(part, {})} for part in options | change}


def train(method):
    """Take steps as the loop does."""
    optimizers = method.optimizers()

    def update(name, loss):
        optimizers[name].zero_grad(set_to_none=True)
        loss.backward()
        optimizers[name].step()

    return update


def test_defaults_are_the_papers():
    options = SAMROptions()
    assert (options.generator.downs, options.generator.branch_blocks) == (5, 1)
    assert options.discriminator.label_wise and options.generator.stretch_out and options.generator.atlas
    assert options.discriminator.loss == "log"
    weights = options.weights.model_dump()
    assert weights == {"adversarial": 1, "feature_matching": 5, "shape_consistency": 1, "reconstruction": 0}
    assert (options.adam.rate, options.adam.betas) == (2e-4, (0.5, 0.999))


def test_total_is_the_weighted_sum_of_equation_5(options, task, batch):
    method, totals = make_method("samr", options, task), {}
    losses = step(method, batch, lambda name, loss: totals.update({name: loss.item()}))
    total = losses["G/adversarial"] + 5 * losses["G/feature_matching"] + losses["G/shape_consistency"]
    assert totals["G"] == pytest.approx(total.item(), rel=1e-5)
    assert "G/confidence" not in losses


def test_a_step_reaches_every_parameter(options, task, batch):
    method = make_method("samr", options, task)
    touched: dict[str, set[str]] = {}

    def watched(name, loss):
        for parameter in method.parameters():
            parameter.grad = None
        loss.backward()
        touched[name] = {n for n, p in method.named_parameters() if p.grad is not None and p.grad.abs().sum() > 0}

    step(method, batch, watched)
    every = {n for n, _ in method.named_parameters()}
    assert touched["D"] == {n for n in every if n.startswith("D.")}
    assert touched["G"] == every - touched["D"]


def test_synthesis_and_pictures(options, task, batch):
    method = make_method("samr", options, task)
    assert isinstance(method, Synthesizer) and not isinstance(method, Segmenter)
    images = method.synthesize(batch)
    assert images.shape == batch.images.shape
    assert (images[(batch.labels == 0).unsqueeze(1).expand_as(images)] == -1).all()
    assert set(method.pictures(batch)) == {"real", "synthetic"}


def test_a_label_that_the_task_has_not_is_not_drawn(options, task, batch):
    method = make_method("samr", options, task)
    unknown = batch.labels.clone()
    unknown[0, 0, 0] = task.classes
    with pytest.raises(InputError, match="no class has"):
        method.synthesize(batch.replace(labels=unknown))


ABLATIONS = {
    "stretch-out": {"generator": {"stretch_out": False}},
    "label-wise discriminators": {"discriminator": {"label_wise": False}},
    "atlas": {"generator": {"atlas": False}},
    "shape consistency": {"weights": {"shape_consistency": 0}},
    "feature matching": {"weights": {"feature_matching": 0}},
}


@pytest.mark.parametrize("name", ["samr", "cgsamr"])
@pytest.mark.parametrize("change", ABLATIONS.values(), ids=ABLATIONS)
def test_every_part_can_be_taken_away(small, options, task, batch, name, change):
    method = make_method(name, changed(small if name == "cgsamr" else options, change), task)
    losses = step(method, batch, train(method))
    assert all(torch.isfinite(value) for value in losses.values())
    assert method.synthesize(batch).shape == batch.images.shape


def test_without_confidence_modules_cgsamr_has_no_such_term(small, task, batch):
    method = make_method("cgsamr", changed(small, {"generator": {"guidance": None}}), task)
    losses = step(method, batch, train(method))
    assert not {"G/confidence", "mean_confidence", "lambda_cm"} & set(losses)
    assert set(method.pictures(batch)) == {"real", "synthetic"}


def test_one_plain_pair_sees_the_whole_image(options, task, batch):
    method = make_method("samr", changed(options, ABLATIONS["label-wise discriminators"]), task)
    assert len(method.D.discriminators) == 2
    whole, half = method.D.views(batch.images, method._regions(batch.labels))
    assert torch.equal(whole, batch.images) and half.shape[-2:] == (16, 8)
    assert len(make_method("samr", options, task).D.discriminators) == 2 * REGIONS


def test_without_the_atlas_nothing_sees_it(options, task, batch):
    method = make_method("samr", changed(options, ABLATIONS["atlas"]), task, seed=1)
    bare = batch.replace(atlas=batch.atlas[:, :0])
    method.check({"slices": bare})  # slices that were cut without an atlas
    assert torch.equal(method.synthesize(batch), method.synthesize(bare))
    found = [step(method, each, lambda name, loss: None) for each in (batch, bare)]
    assert all(torch.equal(found[0][name], found[1][name]) for name in found[0])


def test_discriminators_see_label_maps_and_images_alone_where_told_so(options, task, batch):
    plain = make_method("samr", options, task)
    method = make_method("samr", changed(options, {"discriminator": {"atlas": False}}), task)
    shown = [each.D.discriminators[0].layers[0][0].in_channels for each in (plain, method)]
    assert shown == [task.classes + task.atlas_channels + task.channels, task.classes + task.channels]
    other = batch.replace(atlas=-batch.atlas)
    assert torch.equal(method.eval().judge(batch), method.judge(other))
    assert not torch.equal(method.synthesize(batch), method.synthesize(batch.replace(atlas=other.atlas)))


def test_the_judgement_is_the_mean_logit_of_all_discriminators(options, task, batch):
    method = make_method("samr", options, task).eval()
    found = method.judge(batch)
    assert found.shape == (len(batch.labels),)
    # By hand: each of the six on its own view of label map, atlas and images, region by region, full scale then half.
    one_hot = torch.nn.functional.one_hot(batch.labels, task.classes).movedim(-1, 1).float()
    given = torch.cat([one_hot, batch.atlas, batch.images], dim=1)
    logits = []
    for number, judge in enumerate(method.D.discriminators):
        region = batch.labels.clamp(max=REGIONS - 1) == number // 2
        view = given * region[:, None]
        view = method.D.halve(view) if number % 2 else view
        logits.append(judge(view)[-1].flatten(1).mean(dim=1))
    torch.testing.assert_close(found, torch.stack(logits).mean(dim=0).detach())
