"""What a method is: networks, optimizers, one training step, and the capabilities it offers."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, ClassVar, Protocol, runtime_checkable

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn
from torch.optim import Optimizer

from lesionlab.errors import InputError
from lesionlab.networks.layout import aligned, in_memory_order
from lesionlab.slices.batches import Batch

KERNEL_AXES = 4
MOMENTS = ("exp_avg", "exp_avg_sq")

Update = Callable[[str, Tensor], None]
"""``update(name, loss)``: zero the named optimizer's gradients, go backward, clip, step."""


class Task(BaseModel):
    """What the data hold, so that networks fit them; kept in every checkpoint."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    sequences: tuple[str, ...] = Field(min_length=1, description="image channels, in order")
    lesion_classes: tuple[str, ...] = Field(min_length=1, description="labels 2, 3, .. in order")
    atlas_planes: int = Field(3, ge=1, description="adjacent atlas planes given with a slice")

    @property
    def channels(self) -> int:
        """Image channels, C."""
        return len(self.sequences)

    @property
    def classes(self) -> int:
        """Labels, K: background, normal brain, lesion classes."""
        return len(self.class_names)

    @property
    def class_names(self) -> tuple[str, ...]:
        """What labels 0, 1, 2, .. mean."""
        return ("background", "brain", *self.lesion_classes)

    @property
    def atlas_channels(self) -> int:
        """Channels of the atlas, planes times sequences."""
        return self.atlas_planes * self.channels


class AdamOptions(BaseModel):
    """Adam, as GAN papers use it since Radford et al. 2016."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    rate: float = Field(2e-4, gt=0)
    betas: tuple[float, float] = (0.5, 0.999)

    def build(self, parameters: Iterator[nn.Parameter] | list[nn.Parameter]) -> torch.optim.Adam:
        """An optimizer over ``parameters``; fused, which spares CPUs most of its time."""
        return DenseAdam(parameters, lr=self.rate, betas=self.betas, fused=True)


class DenseAdam(torch.optim.Adam):
    """Adam whose kernel is shown contiguous views, with the state and the arithmetic of Adam.

    On CPUs torch's fused kernel walks through memory as it lies: it copies channels-last gradients in vain, and
    pairs weights with gradients or moments of another layout wrongly.
    """

    def _init_group(self, group: dict[str, Any], *lists: list[Tensor]) -> bool:
        kernels = [p for p in group["params"] if p.grad is not None and p.ndim == KERNEL_AXES]
        for parameter in kernels:
            parameter.grad = aligned(parameter.grad, parameter)
            state = self.state.get(parameter, {})
            state.update({name: aligned(value, parameter) for name, value in state.items() if name in MOMENTS})
        complex_ones = super()._init_group(group, *lists)  # type: ignore[misc]
        for tensors in lists:
            tensors[:] = [in_memory_order(t) if t.ndim == KERNEL_AXES else t for t in tensors]
        return complex_ones


class Method(nn.Module, ABC):
    """One system of the papers. Subclasses build their networks in ``__init__``, with the paper's letters."""

    name: ClassVar[str]
    options: BaseModel
    task: Task

    @abstractmethod
    def optimizers(self) -> dict[str, Optimizer]:
        """Fresh optimizers by name, over all parameters."""

    @abstractmethod
    def training_step(self, batch: Batch, update: Update) -> dict[str, Tensor]:
        """One optimisation step; the losses and rates worth a curve, as detached scalars."""

    @abstractmethod
    def validation_images(self, batch: Batch) -> dict[str, Tensor]:
        """Pictures of the method at work on a batch: name -> ``(N, C, h, w)`` in [-1, 1]."""

    def side_multiple(self) -> int:
        """What the height and width of slices must be multiples of."""
        return 1

    def check(self, batch: Batch) -> None:
        """Raise ``InputError`` where a batch does not fit the networks, before any time is spent."""
        expect("images", "channels", batch.images.shape[1], self.task.channels)
        self.check_labels(batch.labels)

    def check_labels(self, labels: Tensor) -> None:
        """Raise ``InputError`` where label maps ``(N, H, W)`` hold a label that no class has, or do not fit in size."""
        if int(labels.max()) >= self.task.classes:
            raise InputError(
                "a label map holds a label that no class has",
                given=f"label {int(labels.max())}",
                allowed=", ".join(f"{code} {name}" for code, name in enumerate(self.task.class_names)),
                cure="list every lesion class in lesion_classes, or cut the slices anew",
            )
        self.check_size(labels)

    def check_size(self, labels: Tensor) -> None:
        """Raise ``InputError`` where slices ``(N, H, W)`` have sides that the networks cannot halve."""
        height, width = labels.shape[-2:]
        multiple = self.side_multiple()
        if height % multiple or width % multiple:
            raise InputError(
                f"{self.name} cannot work on slices of this size",
                given=f"{height} x {width} pixels (height x width)",
                allowed=f"multiples of {multiple} for both sides",
                cure=f"choose a grid size in multiples of {multiple}, or fewer down-sampling steps",
            )


@runtime_checkable
class Synthesizer(Protocol):
    """Makes images from label maps and a prior."""

    def synthesize(self, labels: Tensor, prior: Tensor) -> Tensor:
        """Labels ``(N, H, W)`` int64 and prior ``(N, P, H, W)`` -> images ``(N, C, H, W)`` in [-1, 1]."""


@runtime_checkable
class Segmenter(Protocol):
    """Finds lesions in images."""

    def segment(self, images: Tensor) -> Tensor:
        """Images ``(N, C, H, W)`` in [-1, 1] -> class probabilities ``(N, K, H, W)``."""


def expect(thing: str, unit: str, given: int, wanted: int) -> None:
    """Raise ``InputError`` unless a count is as the task says."""
    if given != wanted:
        raise InputError(
            f"the {thing} have another number of {unit} than the task",
            given=given,
            allowed=wanted,
            cure="name in the task the sequences the slices were cut with; "
            "switch `atlas.enabled` on for a method that needs it",
        )


@contextmanager
def frozen(network: nn.Module) -> Iterator[None]:
    """Gradients pass through ``network`` to its input, but none is computed for its parameters."""
    parameters = [parameter for parameter in network.parameters() if parameter.requires_grad]
    for parameter in parameters:
        parameter.requires_grad_(False)
    try:
        yield
    finally:
        for parameter in parameters:
            parameter.requires_grad_(True)


@contextmanager
def at_rest(network: nn.Module) -> Iterator[None]:
    """Evaluation mode without gradients; the mode that was set comes back afterwards."""
    training = network.training
    network.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        network.train(training)
