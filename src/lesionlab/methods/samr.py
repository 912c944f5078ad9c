"""SAMR: synthesis of MR slices from lesion maps and an atlas (Guo et al., MICCAI 2020).

Names follow the paper: G the generator, D the six label-wise discriminators, U the U-Net of the shape
consistency loss. What the paper leaves open is an option, with the choice stated beside it; so is each part that
its ablation study takes away. CG-SAMR extends it (:mod:`lesionlab.methods.cgsamr`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn
from torch.nn import functional
from torch.optim import Optimizer

from lesionlab.losses.adversarial import GANLoss, discriminator_loss, generator_loss, sum_over
from lesionlab.losses.dice import shape_consistency_loss
from lesionlab.losses.feature_matching import feature_matching_loss
from lesionlab.methods.base import Batches, Method, Prior, Step, Task, frozen, inference_mode
from lesionlab.networks.adam import AdamOptions
from lesionlab.networks.blocks import Norm, Upsampling, init_gan_weights
from lesionlab.networks.decoder import DecoderShape, StretchOutDecoder, Synthesis
from lesionlab.networks.encoder import PriorEncoder
from lesionlab.networks.labels import REGIONS, blacken, one_hot, region_masks
from lesionlab.networks.layout import join_channels
from lesionlab.networks.patchgan import LabelWiseDiscriminators, join
from lesionlab.networks.unet import UNet, UNetShape
from lesionlab.slices.batches import Batch, Stream


class GeneratorOptions(BaseModel):
    """The generator's size and layout; the defaults are SAMR's, f full size."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    width: int = Field(64, ge=1, description="f: feature maps after the first layer (the papers do not say)")
    downs: int = Field(5, ge=2, description="n: strided layers; slice sides must be multiples of 2^n")
    encoder_blocks: int = Field(6, ge=0, description="residual blocks after the encoders (SAMR does not say how many)")
    decoder_blocks: int = Field(0, ge=0, description="residual blocks before the branches")
    branch_blocks: int = Field(1, ge=0, description="residual blocks at the beginning of each branch")
    norm: Norm = "batch"
    upsampling: Upsampling = Field(
        "transposed", description="the papers' transposed convolutions, or resized: pixels doubled, then convolved"
    )
    show_labels: bool = Field(
        False,
        description="the layers that make the images see the label map too, at full size; in the papers they do not",
    )
    stretch_out: bool = Field(True, description="one up-sampling branch per sequence; false: one for all (ablation)")
    atlas: bool = Field(True, description="give generator and discriminators the atlas; false: labels alone (ablation)")

    def decoder(self, classes: int) -> DecoderShape:
        """The layout of the decoder, for label maps of so many classes."""
        return DecoderShape(
            downs=self.downs,
            blocks=self.decoder_blocks,
            branch_blocks=self.branch_blocks,
            norm=self.norm,
            upsampling=self.upsampling,
            shown=classes if self.show_labels else 0,
            stretch_out=self.stretch_out,
        )


class DiscriminatorOptions(BaseModel):
    """The size of the discriminators, and what they play for."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    width: int = Field(64, ge=1)
    norm: Norm = "batch"
    loss: GANLoss = "log"
    label_wise: bool = Field(
        True, description="a pair of scales for each of background, brain, lesion; false: one pair for all (ablation)"
    )
    atlas: bool = Field(
        True,
        description="whether it sees the atlas beside label map and images; SAMR's paper speaks of the latter alone",
    )
    rate: float | None = Field(None, gt=0, description="learning rate of D alone; null: that of G (the paper)")
    saturating: bool = Field(
        False,
        description="G minimises log(1 - D) to the letter of Eq. 2, instead of -log D, whose gradient does not vanish",
    )


class LossWeights(BaseModel):
    """Weights of the terms of SAMR's Eq. 5: 1 for the adversarial one, then lambda_1, lambda_2. 0 leaves a term out."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    adversarial: float = Field(1.0, ge=0)
    feature_matching: float = Field(5.0, ge=0)
    shape_consistency: float = Field(1.0, ge=0)
    reconstruction: float = Field(
        0.0,
        ge=0,
        description="of the mean absolute difference of the final images, which neither paper has: feature matching "
        "behind norm layers anchors intensities only after many thousand steps",
    )


class SAMROptions(BaseModel):
    """All of SAMR's options."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    generator: GeneratorOptions = GeneratorOptions()  # type: ignore[call-arg]
    discriminator: DiscriminatorOptions = DiscriminatorOptions()  # type: ignore[call-arg]
    unet: UNetShape = UNetShape()  # type: ignore[call-arg]
    weights: LossWeights = LossWeights()  # type: ignore[call-arg]
    adam: AdamOptions = AdamOptions()  # type: ignore[call-arg]
    mask_background: bool = Field(
        True,
        description="synthesize() sets pixels of label 0 to -1, as real slices have them; training is untouched "
        "(the papers do not say)",
    )


class Generator(nn.Module):
    """One-hot label maps and atlas -> images (SAMR, Figure 1a; CG-SAMR, Figure 2)."""

    def __init__(self, options: GeneratorOptions, task: Task) -> None:
        super().__init__()
        self.encoder = PriorEncoder(
            task.classes,
            task.atlas_channels if options.atlas else 0,
            options.width,
            options.downs,
            options.encoder_blocks,
            options.norm,
        )
        self.shows_labels = options.show_labels
        self.decoder = StretchOutDecoder(self.encoder.channels, task.channels, options.decoder(task.classes))
        init_gan_weights(self)

    def forward(self, labels: Tensor, atlas: Tensor) -> Synthesis:
        """``(N, K, H, W)`` one-hot, ``(N, 3C, H, W)`` atlas -> images ``(N, C, H, W)`` and what guided them."""
        return self.decoder(self.encoder(labels, atlas), labels if self.shows_labels else None)


class SAMR(Method):
    """Lesion-mask-based simultaneous synthesis; a ``Synthesizer`` with the atlas as prior."""

    name: ClassVar[str] = "samr"
    title: ClassVar[str] = "SAMR"
    paper: ClassVar[str] = (
        "Guo P, Wang P, Zhou J, Patel VM, Jiang S. Lesion Mask-based Simultaneous Synthesis of Anatomic and Molecular "
        "MR Images using a GAN. MICCAI 2020. doi:10.1007/978-3-030-59713-9_11"
    )
    Options: ClassVar[type[BaseModel]] = SAMROptions
    streams: ClassVar[Mapping[str, Stream]] = {"slices": Stream(fields=("images", "labels", "atlas"))}
    prior: ClassVar[Prior | None] = "atlas"
    claims: ClassVar[tuple[tuple[str, str], ...]] = (("samr", "shin"), ("samr", "pix2pixhd"), ("samr", "pix2pix"))

    options: SAMROptions

    def __init__(self, options: SAMROptions, task: Task) -> None:
        super().__init__()
        self.options, self.task = options, task
        play = options.discriminator
        shown = task.classes + (task.atlas_channels if self._shows_atlas else 0) + task.channels
        self.G = self._generator()
        self.D = LabelWiseDiscriminators(shown, REGIONS if play.label_wise else 1, play.width, play.norm)
        self.U = UNet(task.channels, task.classes, options.unet)
        init_gan_weights(self.D)

    def _generator(self) -> Generator:
        return Generator(self.options.generator, self.task)

    def optimizers(self) -> dict[str, Optimizer]:
        """``D``, and ``G`` over generator and U-Net together: the loss is minimised over both at once."""
        adam = self.options.adam
        of_d = adam.model_copy(update={"rate": self.options.discriminator.rate or adam.rate})
        return {"D": of_d.build(self.D.parameters()), "G": adam.build([*self.G.parameters(), *self.U.parameters()])}

    @classmethod
    def prior_of(cls, options: SAMROptions) -> Prior | None:
        """The atlas, unless the generator is to do without."""
        return "atlas" if options.generator.atlas else None

    @classmethod
    def side_multiple(cls, options: SAMROptions) -> int:
        """2^n for n strided layers."""
        return 2**options.generator.downs

    def training_step(self, batches: Batches, step: Step) -> dict[str, Tensor]:
        """SAMR's Eq. 5: first D maximises its part, then G and U minimise theirs on the same synthesized images."""
        batch = batches["slices"]
        labels = one_hot(batch.labels, self.task.classes, like=batch.images)
        masks = self._regions(batch.labels)
        made = self.G(labels, batch.atlas)
        condition = self.D.views(self._condition(labels, batch.atlas), masks)
        real = join(condition, self.D.views(batch.images, masks))
        fake = join(condition, self.D.views(made.images, masks))
        losses = {"D/adversarial": self._discriminators(real, [view.detach() for view in fake])}
        step.update("D", losses["D/adversarial"])
        with frozen(self.D):
            losses |= self._against_discriminators(real, fake)
        losses |= self._consistency(labels, batch.images, made.images) | self._guidance(batch.images, made)
        losses["G/reconstruction"] = functional.l1_loss(made.images, batch.images)
        losses["G/total"] = self._total(losses)
        step.update("G", losses["G/total"])
        return {name: value.detach() for name, value in losses.items()}

    @property
    def _shows_atlas(self) -> bool:
        return self.options.generator.atlas and self.options.discriminator.atlas

    def _condition(self, labels: Tensor, atlas: Tensor) -> Tensor:
        """What discriminators see beside the images, ``(N, channels, H, W)``."""
        return join_channels([labels, atlas], labels) if self._shows_atlas else labels

    def _regions(self, labels: Tensor) -> Tensor:
        """What each pair of discriminators sees, ``(N, regions, H, W)``."""
        if self.options.discriminator.label_wise:
            return region_masks(labels)
        return torch.ones_like(labels[:, None], dtype=torch.float32)

    def _discriminators(self, real: list[Tensor], fake: list[Tensor]) -> Tensor:
        """SAMR's Eq. 1 (CG-SAMR's Eq. 2), negated: the sum over all discriminators."""
        kind = self.options.discriminator.loss
        both = self.D([torch.cat(pair) for pair in zip(real, fake, strict=True)], parts=2)
        logits = [features[-1].chunk(2) for features in both]
        return sum_over([discriminator_loss(on_real, on_fake, kind) for on_real, on_fake in logits])

    def _against_discriminators(self, real: list[Tensor], fake: list[Tensor]) -> dict[str, Tensor]:
        """G's side of that, and SAMR's Eq. 2 (CG-SAMR's Eq. 3)."""
        with torch.no_grad():
            on_real = self.D(real)
        on_fake = self.D(fake)
        play = self.options.discriminator
        return {
            "G/adversarial": sum_over([generator_loss(f[-1], play.loss, play.saturating) for f in on_fake]),
            "G/feature_matching": feature_matching_loss(on_real, on_fake),
        }

    def _consistency(self, labels: Tensor, real: Tensor, fake: Tensor) -> dict[str, Tensor]:
        """SAMR's Eq. 4 (CG-SAMR's Eq. 5)."""
        of_real, of_fake = self.U(real).softmax(1), self.U(fake).softmax(1)
        return {"G/shape_consistency": shape_consistency_loss(labels, of_real, of_fake)}

    def _guidance(self, real: Tensor, made: Synthesis) -> dict[str, Tensor]:
        """Terms of what guides the branches, of which SAMR has nothing."""
        return {}

    def _total(self, losses: dict[str, Tensor]) -> Tensor:
        weights = {f"G/{name}": weight for name, weight in self.options.weights}
        return sum_over([weights[name] * loss for name, loss in losses.items() if weights.get(name)])

    def synthesize(self, batch: Batch) -> Tensor:
        """Label maps and atlas of a batch -> images ``(N, C, H, W)`` in [-1, 1].

        Raises ``InputError`` for a label that the task lacks, and for sides that the networks cannot halve.
        """
        return self.confidence(batch).images

    def confidence(self, batch: Batch) -> Synthesis:
        """As :meth:`synthesize`, with the coarse images and confidence maps ``(N, C, h, w)`` where there are any."""
        labels = batch.labels
        self.check_labels(labels)
        with inference_mode(self):
            made = self.G(one_hot(labels, self.task.classes), batch.atlas)
        if self.options.mask_background:
            made = made._replace(images=blacken(made.images, labels))
        return made

    def judge(self, batch: Batch) -> Tensor:
        """The discriminators' mean logit ``(N,)`` for real images: whether it knows those it was trained on."""
        with inference_mode(self):
            masks = self._regions(batch.labels)
            condition = self._condition(one_hot(batch.labels, self.task.classes), batch.atlas)
            views = join(self.D.views(condition, masks), self.D.views(batch.images, masks))
            logits = [layers[-1].float().mean(dim=(1, 2, 3)) for layers in self.D(views)]
        return torch.stack(logits).mean(dim=0)

    def pictures(self, batch: Batch) -> dict[str, Tensor]:
        """Real and synthesized images, and where there are any coarse images and confidence maps over [-1, 1]."""
        made = self.confidence(batch)
        pictures = {"real": batch.images, "synthetic": made.images}
        if made.coarse is not None and made.confidence is not None:
            pictures |= {"coarse": made.coarse, "confidence": 2.0 * made.confidence - 1.0}
        return pictures
