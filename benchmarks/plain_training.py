"""Training steps as one writes them from the papers: float32, contiguous, one pass per discriminator and image.

What benchmarks/training.py measures against, and what tests hold the project's steps to. Networks and weights are the
method's own; torch's own layers compute them, gradients come from autograd alone, and Adam walks through the
parameters one by one.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.optim import Adam, Optimizer

from lesionlab.methods.base import Method
from lesionlab.methods.cgsamr import CGSAMR
from lesionlab.methods.samr import SAMR
from lesionlab.methods.unet import UNetSegmenter
from lesionlab.slices.batches import Batch

TORCHS_OWN = (nn.Conv2d, nn.ReflectionPad2d, nn.BatchNorm2d)
REGIONS = 3
LOG_EPSILON, DICE_EPSILON = 1e-8, 1e-7

Step = Callable[[Batch], dict[str, Tensor]]
Likeness = Callable[[Optimizer], Optimizer]


def plain_adam(optimizer: Optimizer) -> Adam:
    """Adam with the same parameters, rate and betas, in torch's loop."""
    (group,) = optimizer.param_groups
    return Adam(group["params"], lr=group["lr"], betas=group["betas"], foreach=False, fused=False)


def plain_step(method: Method, optimizer: Likeness = plain_adam) -> Step:
    """The step of a method whose layers are turned into torch's own, in place; each optimizer gives way to its like."""
    for module in method.modules():
        for own in TORCHS_OWN:
            if isinstance(module, own):
                module.__class__ = own
    optimizers = {name: optimizer(own) for name, own in method.train().optimizers().items()}
    if isinstance(method, UNetSegmenter):
        return lambda batch: unet_step(method, optimizers, batch)
    assert isinstance(method, SAMR)
    return lambda batch: samr_step(method, optimizers, batch)


def descend(optimizer: Optimizer, loss: Tensor) -> None:
    """One step of an optimizer."""
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()


def unet_step(method: UNetSegmenter, optimizers: dict[str, Optimizer], batch: Batch) -> dict[str, Tensor]:
    """Dice and cross-entropy."""
    logits = method.U(batch.images)
    loss_dice = dice(one_hot(batch.labels, method.task.classes), logits.softmax(1))
    loss_ce = functional.cross_entropy(logits, batch.labels)
    descend(optimizers["U"], loss_dice + loss_ce)
    return {"U/dice": loss_dice, "U/cross_entropy": loss_ce, "U/total": loss_dice + loss_ce}


def samr_step(method: SAMR, optimizers: dict[str, Optimizer], batch: Batch) -> dict[str, Tensor]:
    """SAMR's Eqs. 1 to 5, CG-SAMR's Eqs. 1 to 6, with the logarithmic loss and all parts."""
    labels, real = one_hot(batch.labels, method.task.classes), batch.images
    made = method.G(labels, batch.atlas)
    fake = made.images
    judges = method.D.discriminators

    views_real = views(torch.cat([labels, batch.atlas, real], 1), batch.labels)
    views_fake = views(torch.cat([labels, batch.atlas, fake.detach()], 1), batch.labels)
    loss_d = torch.zeros((), device=real.device)
    for judge, on_real, on_fake in zip(judges, views_real, views_fake, strict=True):
        loss_d = (
            loss_d + functional.softplus(-judge(on_real)[-1]).mean() + functional.softplus(judge(on_fake)[-1]).mean()
        )
    descend(optimizers["D"], loss_d)

    adversarial = matching = torch.zeros((), device=real.device)
    views_fake = views(torch.cat([labels, batch.atlas, fake], 1), batch.labels)
    for judge, on_real, on_fake in zip(judges, views_real, views_fake, strict=True):
        with torch.no_grad():
            wanted = judge(on_real)
        features = judge(on_fake)
        adversarial = adversarial + functional.softplus(-features[-1]).mean()
        for feature, target in zip(features, wanted, strict=True):
            matching = matching + functional.mse_loss(feature, target)
    shape = dice(labels, method.U(real).softmax(1)) + dice(labels, method.U(fake).softmax(1))
    reconstruction = functional.l1_loss(fake, real)
    weights = method.options.weights
    total = (
        weights.adversarial * adversarial
        + weights.feature_matching * matching
        + weights.shape_consistency * shape
        + weights.reconstruction * reconstruction
    )
    losses = {"D/adversarial": loss_d, "G/adversarial": adversarial, "G/feature_matching": matching}
    losses |= {"G/shape_consistency": shape, "G/reconstruction": reconstruction}
    if isinstance(method, CGSAMR):
        rule = method.options.lambda_cm
        weight = rule.low if made.confidence.mean() > rule.threshold else rule.high
        coarse = functional.avg_pool2d(real, real.shape[-1] // made.coarse.shape[-1])
        error = (made.confidence * (made.coarse - coarse).abs()).mean()
        losses["G/confidence"] = error - weight * torch.log(made.confidence + LOG_EPSILON).mean()
        total = total + weights.confidence * losses["G/confidence"]
    descend(optimizers["G"], total)
    return losses | {"G/total": total}


def one_hot(labels: Tensor, classes: int) -> Tensor:
    """``(N, H, W)`` -> ``(N, classes, H, W)`` float32."""
    return functional.one_hot(labels, classes).permute(0, 3, 1, 2).float().contiguous()


def views(x: Tensor, labels: Tensor) -> list[Tensor]:
    """``x`` where labels are background, normal brain, lesion, each at full and half size."""
    seen = []
    for region in range(REGIONS):
        mask = (labels == region) if region < REGIONS - 1 else (labels >= region)
        seen.append(x * mask.unsqueeze(1).float())
        seen.append(functional.avg_pool2d(seen[-1], 3, stride=2, padding=1, count_include_pad=False))
    return seen


def dice(truth: Tensor, predicted: Tensor) -> Tensor:
    """CG-SAMR's Eq. 4 with a mean over classes."""
    overlap, total = (truth * predicted).sum((0, 2, 3)), truth.sum((0, 2, 3)) + predicted.sum((0, 2, 3))
    return (1 - (2 * overlap + DICE_EPSILON) / (total + DICE_EPSILON)).mean()
