"""pix2pixHD: translation at high resolution, against discriminators at two scales (Wang et al., CVPR 2018).

The global generator alone: slices are small. Without the perceptual term, which compares features of a network for
photographs, and without a map of instance edges.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor
from torch.nn import functional
from torch.optim import Optimizer

from lesionlab.losses.adversarial import GANLoss, discriminator_loss, generator_loss, sum_over
from lesionlab.losses.feature_matching import weighted_feature_matching_loss
from lesionlab.methods.base import Batches, Method, Step, Task, frozen, inference_mode
from lesionlab.networks.adam import AdamOptions
from lesionlab.networks.blocks import Norm
from lesionlab.networks.labels import blacken, one_hot
from lesionlab.networks.layout import join_channels
from lesionlab.networks.patchgan import Features
from lesionlab.networks.pix2pixhd import GlobalGenerator, MultiScaleDiscriminator
from lesionlab.slices.batches import Batch, Stream


class GlobalGeneratorOptions(BaseModel):
    """The generator's size."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    width: int = Field(64, ge=1, description="feature maps of the first layer")
    downs: int = Field(4, ge=1, description="strided layers, n; slice sides must be multiples of 2^n")
    blocks: int = Field(9, ge=0, description="residual blocks")
    norm: Norm = "instance"


class PyramidOptions(BaseModel):
    """The discriminators' size."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    width: int = Field(64, ge=1, description="feature maps of the first layer")
    norm: Norm = "instance"
    scales: int = Field(2, ge=1, description="of the image pyramid (the paper: 3, the public code: 2)")
    loss: GANLoss = "least_squares"
    rate: float | None = Field(None, gt=0, description="learning rate of D alone; null: that of G (the paper)")


class Pix2PixHDOptions(BaseModel):
    """All of pix2pixHD's options."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    generator: GlobalGeneratorOptions = GlobalGeneratorOptions()  # type: ignore[call-arg]
    discriminator: PyramidOptions = PyramidOptions()  # type: ignore[call-arg]
    feature_matching: float = Field(10.0, ge=0, description="lambda of Eq. 5")
    reconstruction: float = Field(
        0.0, ge=0, description="weight of the mean absolute difference of the images, which the paper lacks"
    )
    adam: AdamOptions = AdamOptions()  # type: ignore[call-arg]
    mask_background: bool = Field(True, description="synthesize() sets pixels of label 0 to -1, as in real slices")


class Pix2PixHD(Method):
    """Conditional GAN with feature matching; a ``Synthesizer`` without a prior."""

    name: ClassVar[str] = "pix2pixhd"
    title: ClassVar[str] = "pix2pixHD"
    paper: ClassVar[str] = (
        "Wang TC, Liu MY, Zhu JY, Tao A, Kautz J, Catanzaro B. High-Resolution Image Synthesis and Semantic "
        "Manipulation with Conditional GANs. CVPR 2018. doi:10.1109/CVPR.2018.00917"
    )
    Options: ClassVar[type[BaseModel]] = Pix2PixHDOptions
    streams: ClassVar[Mapping[str, Stream]] = {"slices": Stream(fields=("images", "labels"))}
    claims: ClassVar[tuple[tuple[str, str], ...]] = (("pix2pixhd", "pix2pix"),)
    training_defaults: ClassVar[Mapping[str, int]] = {"constant": 100, "decay": 100, "batch_size": 1}

    options: Pix2PixHDOptions

    def __init__(self, options: Pix2PixHDOptions, task: Task) -> None:
        super().__init__()
        self.options, self.task = options, task
        shape, play = options.generator, options.discriminator
        self.G = GlobalGenerator(task.classes, task.channels, shape.width, shape.downs, shape.blocks, shape.norm)
        self.D = MultiScaleDiscriminator(task.classes + task.channels, play.width, play.norm, play.scales)

    @classmethod
    def side_multiple(cls, options: Pix2PixHDOptions) -> int:
        """2^n for n strided layers."""
        return 2**options.generator.downs

    def optimizers(self) -> dict[str, Optimizer]:
        """``G`` and ``D``."""
        adam = self.options.adam
        of_d = adam.model_copy(update={"rate": self.options.discriminator.rate or adam.rate})
        return {"G": adam.build(self.G.parameters()), "D": of_d.build(self.D.parameters())}

    def training_step(self, batches: Batches, step: Step) -> dict[str, Tensor]:
        """Eq. 5: G minimises its side of Eq. 3 and lambda times Eq. 4; D its own side, halved, on the same images."""
        batch = batches["slices"]
        s, x = one_hot(batch.labels, self.task.classes), batch.images
        made = self.G(s)
        real, fake = self._judge(s, x), self._judge(s, made.detach())
        losses = self._against(s, made, real)
        losses["G/reconstruction"] = functional.l1_loss(made, x)
        losses["G/total"] = (
            losses["G/adversarial"]
            + self.options.feature_matching * losses["G/feature_matching"]
            + self.options.reconstruction * losses["G/reconstruction"]
        )
        step.update("G", losses["G/total"])
        kind = self.options.discriminator.loss
        pairs = zip(real, fake, strict=True)
        losses["D/adversarial"] = 0.5 * sum_over([discriminator_loss(r[-1], f[-1], kind) for r, f in pairs])
        step.update("D", losses["D/adversarial"])
        return {name: value.detach() for name, value in losses.items()}

    def _against(self, s: Tensor, made: Tensor, real: list[Features]) -> dict[str, Tensor]:
        """G's side of Eq. 3, and Eq. 4."""
        with frozen(self.D):
            fake = self._judge(s, made)
        kind = self.options.discriminator.loss
        return {
            "G/adversarial": sum_over([generator_loss(layers[-1], kind) for layers in fake]),
            "G/feature_matching": weighted_feature_matching_loss(real, fake),
        }

    def _judge(self, s: Tensor, images: Tensor) -> list[Features]:
        return self.D(join_channels([s, images], s))

    def synthesize(self, batch: Batch) -> Tensor:
        """Label maps of a batch -> images ``(N, C, H, W)`` in [-1, 1]."""
        self.check_labels(batch.labels)
        with inference_mode(self):
            images = self.G(one_hot(batch.labels, self.task.classes))
        return blacken(images, batch.labels) if self.options.mask_background else images

    def judge(self, batch: Batch) -> Tensor:
        """The discriminators' mean logit ``(N,)`` for real images."""
        with inference_mode(self):
            scales = self._judge(one_hot(batch.labels, self.task.classes), batch.images)
        return torch.stack([layers[-1].float().mean(dim=(1, 2, 3)) for layers in scales]).mean(dim=0)

    def pictures(self, batch: Batch) -> dict[str, Tensor]:
        """Real and synthesized images."""
        return {"real": batch.images, "synthetic": self.synthesize(batch)}
