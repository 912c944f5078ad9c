"""CG-SAMR: confidence-guided synthesis of MR slices from lesion maps and an atlas (Guo et al. 2020).

Names follow the paper: G the generator, D the six label-wise discriminators, U the U-Net of the shape
consistency loss. What the paper leaves open is an option, with the choice stated beside it.
"""

from __future__ import annotations

from typing import ClassVar, Literal

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn
from torch.nn import functional
from torch.optim import Optimizer

from lesionlab.data.batches import Batch
from lesionlab.losses.adversarial import GANLoss, discriminator_loss, generator_loss, sum_over
from lesionlab.losses.confidence import LambdaRule, confidence_loss, shrink
from lesionlab.losses.dice import shape_consistency_loss
from lesionlab.losses.feature_matching import feature_matching_loss
from lesionlab.methods.base import AdamOptions, Method, Task, Update, at_rest, expect, frozen
from lesionlab.methods.label_maps import REGIONS, one_hot, region_masks
from lesionlab.networks.blocks import Norm, init_gan_weights
from lesionlab.networks.decoder import GuidancePlace, StretchOutDecoder, Synthesis
from lesionlab.networks.encoder import PriorEncoder
from lesionlab.networks.patchgan import LabelWiseDiscriminators, join
from lesionlab.networks.unet import UNet, UNetShape

BACKGROUND_INTENSITY = -1.0


class GeneratorOptions(BaseModel):
    """The generator's size and layout; the defaults are the paper's, f full size."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    width: int = Field(64, ge=1, description="f: feature maps after the first layer (the paper does not say)")
    downs: int = Field(4, ge=2, description="n: strided layers; slice sides must be multiples of 2^n")
    encoder_blocks: int = Field(3, ge=0)
    decoder_blocks: int = Field(3, ge=0)
    norm: Norm = "batch"
    guidance: GuidancePlace = Field(
        "half",
        description="where SM and CM sit: before the last up-sampling, or after the first as in the released file",
    )
    guidance_init: Literal["he", "normal"] = Field(
        "he", description="first weights of SM and CM, which have no norm layers; normal: N(0, 0.02) as elsewhere"
    )
    share_guidance: bool = Field(False, description="one SM/CM pair for all branches, as in the released file")


class DiscriminatorOptions(BaseModel):
    """The size of the six discriminators, and what they play for."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    width: int = Field(64, ge=1)
    norm: Norm = "batch"
    loss: GANLoss = "log"
    rate: float | None = Field(None, gt=0, description="learning rate of D alone; null: that of G (the paper)")
    saturating: bool = Field(
        False,
        description="G minimises log(1 - D) to the letter of Eq. 2, instead of -log D, whose gradient does not vanish",
    )


class LossWeights(BaseModel):
    """Weights of the terms of Eq. 6: 1 for the adversarial one, then lambda_1 to lambda_3. 0 leaves a term out."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    adversarial: float = Field(1.0, ge=0)
    feature_matching: float = Field(5.0, ge=0)
    shape_consistency: float = Field(1.0, ge=0)
    confidence: float = Field(1.0, ge=0)
    reconstruction: float = Field(
        0.0,
        ge=0,
        description="of the mean absolute difference of the final images, which Eq. 6 has not: feature matching behind "
        "norm layers anchors intensities only after many thousand steps",
    )


class CGSAMROptions(BaseModel):
    """All of CG-SAMR's options."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    generator: GeneratorOptions = GeneratorOptions()
    discriminator: DiscriminatorOptions = DiscriminatorOptions()
    unet: UNetShape = UNetShape()
    weights: LossWeights = LossWeights()
    lambda_cm: LambdaRule = LambdaRule()
    adam: AdamOptions = AdamOptions()
    mask_background: bool = Field(
        True,
        description="synthesize() sets pixels of label 0 to -1, as real slices have them; training is untouched "
        "(the paper does not say)",
    )


class Generator(nn.Module):
    """One-hot label maps and atlas -> images, by way of coarse images and their confidence (Figure 2)."""

    def __init__(self, options: GeneratorOptions, task: Task) -> None:
        super().__init__()
        self.encoder = PriorEncoder(
            task.classes, task.atlas_channels, options.width, options.downs, options.encoder_blocks, options.norm
        )
        self.decoder = StretchOutDecoder(
            self.encoder.channels,
            task.channels,
            options.downs,
            options.decoder_blocks,
            options.norm,
            options.guidance,
            options.share_guidance,
        )
        init_gan_weights(self)
        if options.guidance_init == "he":
            for guide in self.decoder.guides:
                guide.initialise()  # type: ignore[operator]

    def forward(self, labels: Tensor, atlas: Tensor) -> Synthesis:
        """``(N, K, H, W)`` one-hot, ``(N, 3C, H, W)`` atlas -> images ``(N, C, H, W)`` and their guidance."""
        return self.decoder(self.encoder(labels, atlas))


class CGSAMR(Method):
    """Confidence-guided lesion-mask-based simultaneous synthesis; a ``Synthesizer`` with the atlas as prior."""

    name: ClassVar[str] = "cgsamr"
    options: CGSAMROptions

    def __init__(self, options: CGSAMROptions, task: Task) -> None:
        super().__init__()
        self.options, self.task = options, task
        shown = task.classes + task.atlas_channels + task.channels
        self.G = Generator(options.generator, task)
        self.D = LabelWiseDiscriminators(shown, REGIONS, options.discriminator.width, options.discriminator.norm)
        self.U = UNet(task.channels, task.classes, options.unet)
        init_gan_weights(self.D)

    def optimizers(self) -> dict[str, Optimizer]:
        """``D``, and ``G`` over generator and U-Net together: Eq. 6 minimises over both at once."""
        adam = self.options.adam
        of_d = adam.model_copy(update={"rate": self.options.discriminator.rate or adam.rate})
        return {"D": of_d.build(self.D.parameters()), "G": adam.build([*self.G.parameters(), *self.U.parameters()])}

    def check(self, batch: Batch) -> None:
        """As every method, and the atlas has to be there."""
        super().check(batch)
        expect("atlas", "channels", batch.atlas.shape[1], self.task.atlas_channels)

    def side_multiple(self) -> int:
        """2^n for n strided layers."""
        return 2**self.options.generator.downs

    def training_step(self, batch: Batch, update: Update) -> dict[str, Tensor]:
        """Eq. 6: first D maximises its part, then G and U minimise theirs on the same synthesized images."""
        labels, masks = one_hot(batch.labels, self.task.classes), region_masks(batch.labels)
        made = self.G(labels, batch.atlas)
        condition = self.D.views(torch.cat([labels, batch.atlas], dim=1), masks)
        real = join(condition, self.D.views(batch.images, masks))
        fake = join(condition, self.D.views(made.images, masks))
        losses = {"D/adversarial": self._discriminators(real, [view.detach() for view in fake])}
        update("D", losses["D/adversarial"])
        with frozen(self.D):
            losses |= self._against_discriminators(real, fake)
        losses |= self._consistency(labels, batch.images, made.images) | self._confidence(batch.images, made)
        losses["G/reconstruction"] = functional.l1_loss(made.images, batch.images)
        losses["G/total"] = self._total(losses)
        update("G", losses["G/total"])
        return {name: value.detach() for name, value in losses.items()}

    def _discriminators(self, real: list[Tensor], fake: list[Tensor]) -> Tensor:
        """Eq. 2, negated: the sum over the six discriminators."""
        kind = self.options.discriminator.loss
        pairs = zip(self.D(real), self.D(fake), strict=True)
        return sum_over([discriminator_loss(on_real[-1], on_fake[-1], kind) for on_real, on_fake in pairs])

    def _against_discriminators(self, real: list[Tensor], fake: list[Tensor]) -> dict[str, Tensor]:
        """G's side of Eq. 2, and Eq. 3."""
        with torch.no_grad():
            on_real = self.D(real)
        on_fake = self.D(fake)
        play = self.options.discriminator
        return {
            "G/adversarial": sum_over([generator_loss(f[-1], play.loss, play.saturating) for f in on_fake]),
            "G/feature_matching": feature_matching_loss(on_real, on_fake),
        }

    def _consistency(self, labels: Tensor, real: Tensor, fake: Tensor) -> dict[str, Tensor]:
        """Eq. 5."""
        of_real, of_fake = self.U(real).softmax(1), self.U(fake).softmax(1)
        return {"G/shape_consistency": shape_consistency_loss(labels, of_real, of_fake)}

    def _confidence(self, real: Tensor, fake: Synthesis) -> dict[str, Tensor]:
        """Eq. 1, with lambda_cm decided anew for this batch."""
        weight = self.options.lambda_cm.weight(fake.confidence)
        target = shrink(real, fake.coarse)
        return {
            "G/confidence": confidence_loss(fake.confidence, fake.coarse, target, weight),
            "mean_confidence": fake.confidence.mean(),
            "lambda_cm": weight,
        }

    def _total(self, losses: dict[str, Tensor]) -> Tensor:
        weighted = [weight * losses[f"G/{name}"] for name, weight in self.options.weights if weight]
        return sum_over(weighted)

    def synthesize(self, labels: Tensor, prior: Tensor) -> Tensor:
        """Label maps ``(N, H, W)`` int64 and atlas ``(N, 3C, H, W)`` -> images ``(N, C, H, W)`` in [-1, 1]."""
        return self.synthesize_with_confidence(labels, prior).images

    def synthesize_with_confidence(self, labels: Tensor, prior: Tensor) -> Synthesis:
        """As :meth:`synthesize`, with the coarse images and confidence maps ``(N, C, h, w)`` as well."""
        self.check_size(labels)
        with at_rest(self):
            made = self.G(one_hot(labels, self.task.classes), prior)
        if self.options.mask_background:
            made = made._replace(images=made.images.masked_fill(labels.unsqueeze(1) == 0, BACKGROUND_INTENSITY))
        return made

    def validation_images(self, batch: Batch) -> dict[str, Tensor]:
        """Real and synthesized images, coarse images, and confidence maps spread over [-1, 1]."""
        made = self.synthesize_with_confidence(batch.labels, batch.atlas)
        return {
            "real": batch.images,
            "synthetic": made.images,
            "coarse": made.coarse,
            "confidence": 2.0 * made.confidence - 1.0,
        }
