"""pix2pix: image-to-image translation with a conditional GAN (Isola et al., CVPR 2017).

G, a U-Net, turns the label map into all sequences at once; D, a PatchGAN, sees 70 x 70 pixels of label map and images.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor
from torch.nn import functional
from torch.optim import Optimizer

from lesionlab.losses.adversarial import discriminator_loss, generator_loss
from lesionlab.methods.base import Batches, Method, Step, Task, frozen, inference_mode, require_sides
from lesionlab.networks.adam import AdamOptions
from lesionlab.networks.blocks import Norm, init_gan_weights
from lesionlab.networks.labels import blacken, one_hot
from lesionlab.networks.layout import join_channels
from lesionlab.networks.patchgan import PatchGAN
from lesionlab.networks.pix2pix import Pix2PixGenerator, Statistics, halvings
from lesionlab.slices.batches import Batch, Stream


class UNetGeneratorOptions(BaseModel):
    """The generator's size and noise."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    width: int = Field(64, ge=1, description="feature maps of the first layer")
    downs: int | None = Field(
        None, ge=2, description="strided layers, n; null: as often as the slice's sides can be halved, at most 8"
    )
    norm: Norm = "batch"
    statistics: Statistics = Field(
        "picture",
        description="that batch norm takes when applied: each picture's own (the paper; the same as in training on one "
        "picture at a time), or training: running averages",
    )
    dropout: float = Field(0.5, ge=0, lt=1, description="in three inner up layers, while training")
    dropout_at_test: bool = Field(
        False, description="when applied too, as the paper has it: each call then gives other images"
    )


class PatchGANOptions(BaseModel):
    """The discriminator's size."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    width: int = Field(64, ge=1, description="feature maps of the first layer")
    norm: Norm = "batch"
    rate: float | None = Field(None, gt=0, description="learning rate of D alone; null: that of G (the paper)")


class Pix2PixOptions(BaseModel):
    """All of pix2pix's options."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    generator: UNetGeneratorOptions = UNetGeneratorOptions()  # type: ignore[call-arg]
    discriminator: PatchGANOptions = PatchGANOptions()  # type: ignore[call-arg]
    l1: float = Field(100.0, ge=0, description="lambda of Eq. 4")
    adam: AdamOptions = AdamOptions()  # type: ignore[call-arg]
    mask_background: bool = Field(True, description="synthesize() sets pixels of label 0 to -1, as in real slices")


MOST_DOWNS = 8  # of 256 x 256 pixels
LEAST_DOWNS = 2


class Pix2Pix(Method):
    """Conditional GAN from label map to images; a ``Synthesizer`` without a prior."""

    name: ClassVar[str] = "pix2pix"
    title: ClassVar[str] = "pix2pix"
    paper: ClassVar[str] = (
        "Isola P, Zhu JY, Zhou T, Efros AA. Image-to-Image Translation with Conditional Adversarial Networks. CVPR "
        "2017. doi:10.1109/CVPR.2017.632"
    )
    Options: ClassVar[type[BaseModel]] = Pix2PixOptions
    streams: ClassVar[Mapping[str, Stream]] = {"slices": Stream(fields=("images", "labels"))}
    training_defaults: ClassVar[Mapping[str, int]] = {"constant": 100, "decay": 100, "batch_size": 1}  # public code

    options: Pix2PixOptions

    def __init__(self, options: Pix2PixOptions, task: Task) -> None:
        super().__init__()
        self.options, self.task = options, task
        shape, seen = options.generator, self.seen_channels(task)
        downs = shape.downs or halvings(task.size or (2**MOST_DOWNS, 2**MOST_DOWNS), MOST_DOWNS)
        self.G = Pix2PixGenerator(
            seen,
            task.channels,
            shape.width,
            max(downs, LEAST_DOWNS),
            norm=shape.norm,
            statistics=shape.statistics,
            dropout=shape.dropout,
            dropout_at_test=shape.dropout_at_test,
        )
        self.D = PatchGAN(seen + task.channels, options.discriminator.width, options.discriminator.norm, padding=1)
        init_gan_weights(self.D)

    @classmethod
    def seen_channels(cls, task: Task) -> int:
        """Channels of what G and D see beside the images."""
        return task.classes

    def condition(self, batch: Batch) -> Tensor:
        """x, what G and D see beside the images, ``(N, seen, H, W)``: the one-hot label map."""
        return one_hot(batch.labels, self.task.classes)

    @classmethod
    def side_multiple(cls, options: Pix2PixOptions) -> int:
        """2^n for n strided layers; where these follow the sides, what the least number of them asks for."""
        return 2 ** (options.generator.downs or LEAST_DOWNS)

    def check_size(self, pictures: Tensor) -> None:
        """As every method, but by the depth that the networks came to have."""
        require_sides(self.name, 2 ** len(self.G.downs), *pictures.shape[-2:])

    def optimizers(self) -> dict[str, Optimizer]:
        """``D`` and ``G``."""
        adam = self.options.adam
        of_d = adam.model_copy(update={"rate": self.options.discriminator.rate or adam.rate})
        return {"D": of_d.build(self.D.parameters()), "G": adam.build(self.G.parameters())}

    def training_step(self, batches: Batches, step: Step) -> dict[str, Tensor]:
        """Eq. 4: D maximises Eq. 1, halved; then G minimises it, and lambda times Eq. 3."""
        batch = batches["slices"]
        x, y = self.condition(batch), batch.images
        made = self.G(x)
        real, fake = self._judge(x, y), self._judge(x, made.detach())
        losses = {"D/adversarial": 0.5 * discriminator_loss(real, fake)}
        step.update("D", losses["D/adversarial"])
        with frozen(self.D):
            losses["G/adversarial"] = generator_loss(self._judge(x, made))
        losses["G/l1"] = functional.l1_loss(made, y)
        losses["G/total"] = losses["G/adversarial"] + self.options.l1 * losses["G/l1"]
        step.update("G", losses["G/total"])
        return {name: value.detach() for name, value in losses.items()}

    def _judge(self, x: Tensor, images: Tensor) -> Tensor:
        """D's logits, one per patch."""
        return self.D(join_channels([x, images], x))[-1]

    def synthesize(self, batch: Batch) -> Tensor:
        """Label maps of a batch, and the prior where there is one -> images ``(N, C, H, W)`` in [-1, 1]."""
        self.check_labels(batch.labels)
        with inference_mode(self):
            images = self.G(self.condition(batch))
        return blacken(images, batch.labels) if self.options.mask_background else images

    def judge(self, batch: Batch) -> Tensor:
        """The discriminator's mean logit ``(N,)`` for real images."""
        with inference_mode(self):
            return self._judge(self.condition(batch), batch.images).float().mean(dim=(1, 2, 3))

    def pictures(self, batch: Batch) -> dict[str, Tensor]:
        """Real and synthesized images."""
        return {"real": batch.images, "synthetic": self.synthesize(batch)}
