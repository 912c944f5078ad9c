"""The U-Net that segments lesions, with and without synthetic slices beside the real ones."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Literal

from pydantic import BaseModel, ConfigDict
from torch import Tensor
from torch.nn import functional
from torch.optim import Optimizer

from lesionlab.losses.dice import generalized_dice_loss
from lesionlab.methods.base import Batches, Method, Step, Task, inference_mode
from lesionlab.networks.adam import AdamOptions
from lesionlab.networks.labels import one_hot
from lesionlab.networks.unet import UNet, UNetShape
from lesionlab.slices.batches import Batch, Stream

DEFAULT_BETAS = (0.9, 0.999)


class UNetOptions(BaseModel):
    """The segmenter's options. CG-SAMR's paper gives the rate (2e-4); it leaves the loss and the size open."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    network: UNetShape = UNetShape()
    loss: Literal["dice_ce", "dice", "ce"] = "dice_ce"
    adam: AdamOptions = AdamOptions(betas=DEFAULT_BETAS)


class UNetSegmenter(Method):
    """A 2D U-Net over all sequences of a slice, trained on the full label map."""

    name: ClassVar[str] = "unet"
    title: ClassVar[str] = "U-Net"
    paper: ClassVar[str] = (
        "Ronneberger O, Fischer P, Brox T. U-Net: Convolutional Networks for Biomedical Image Segmentation. MICCAI "
        "2015. doi:10.1007/978-3-319-24574-4_28"
    )
    Options: ClassVar[type[BaseModel]] = UNetOptions
    streams: ClassVar[Mapping[str, Stream]] = {"slices": Stream(fields=("images", "labels"))}
    # CG-SAMR, section IV-A: 100 + 100 epochs, batch 16
    training_defaults: ClassVar[Mapping[str, int]] = {"constant": 100, "decay": 100, "batch_size": 16}

    options: UNetOptions

    def __init__(self, options: UNetOptions, task: Task) -> None:
        super().__init__()
        self.options, self.task = options, task
        self.U = UNet(task.channels, task.classes, options.network)

    def optimizers(self) -> dict[str, Optimizer]:
        """One: ``U``."""
        return {"U": self.options.adam.build(self.U.parameters())}

    def training_step(self, batches: Batches, step: Step) -> dict[str, Tensor]:
        """Segment the slices, compare with their label maps, step."""
        batch = batches["slices"]
        logits = self.U(batch.images)
        losses = {}
        if "dice" in self.options.loss:
            losses["dice"] = generalized_dice_loss(one_hot(batch.labels, self.task.classes), logits.softmax(1))
        if "ce" in self.options.loss.split("_"):
            losses["cross_entropy"] = functional.cross_entropy(logits, batch.labels)
        losses["total"] = sum(losses.values(), start=logits.new_zeros(()))
        step.update("U", losses["total"])
        return {f"U/{name}": value.detach() for name, value in losses.items()}

    def segment(self, images: Tensor) -> Tensor:
        """Images ``(N, C, H, W)`` in [-1, 1] -> class probabilities ``(N, K, H, W)``, float32."""
        with inference_mode(self):
            return self.U(images).softmax(1)

    def features(self, images: Tensor) -> Tensor:
        """Images ``(N, C, H, W)`` -> ``(N, F)`` float32: the maps of the lowest level, each averaged over the slice."""
        seen: list[Tensor] = []
        hook = self.U.dropout.register_forward_hook(lambda _, __, output: seen.append(output))
        try:
            with inference_mode(self):
                self.U(images)
        finally:
            hook.remove()
        return seen[0].float().mean(dim=(2, 3))

    def pictures(self, batch: Batch) -> dict[str, Tensor]:
        """Images, true and predicted label maps, labels spread over [-1, 1]."""
        predicted = self.segment(batch.images).argmax(1)
        return {
            "real": batch.images,
            "truth": self._as_picture(batch.labels),
            "predicted": self._as_picture(predicted),
        }

    def _as_picture(self, labels: Tensor) -> Tensor:
        return 2.0 * labels.unsqueeze(1) / (self.task.classes - 1) - 1.0
