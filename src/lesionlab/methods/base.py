"""The contract of a method: what it says of itself, its networks, one training step, and its capabilities.

A method is one file in this package (or in a package that declares the entry point ``lesionlab.methods``), one
configuration file and one test. Nothing else names it: see docs/add-a-method.md.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, ClassVar, Literal, Protocol, runtime_checkable

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn
from torch.optim import Optimizer

from lesionlab.errors import InputError
from lesionlab.slices.batches import TISSUES, Batch, Stream

Prior = Literal["atlas", "tissues"]
Batches = Mapping[str, Batch]


class Task(BaseModel):
    """What the data hold, so that networks fit them; kept in every checkpoint."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    sequences: tuple[str, ...] = Field(min_length=1, description="image channels, in order")
    lesion_classes: tuple[str, ...] = Field(min_length=1, description="labels 2, 3, .. in order")
    atlas_planes: int = Field(3, ge=1, description="adjacent atlas planes given with a slice")
    size: tuple[int, int] | None = Field(None, description="height and width of slices; null: any")

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


class Step(Protocol):
    """What the loop hands to a training step.

    Attributes:
        number: of the step: 0, 1, ..
        total: steps of the whole training.
    """

    @property
    def number(self) -> int:
        """Of the step."""

    @property
    def total(self) -> int:
        """Of the whole training."""

    def update(self, name: str, loss: Tensor) -> None:
        """Zero the named optimizer's gradients, go backward, clip, step."""


class Method(nn.Module, ABC):
    """One system of the papers. Subclasses build their networks in ``__init__``, with the paper's letters.

    Attributes:
        name: in configuration, tables, files and ``--pipelines``.
        title: in tables and figures.
        paper: citation.
        Options: model of its options: every number that the paper gives or leaves open.
        streams: which slices its steps see, by name.
        prior: what a synthesizer is given beside the lesions.
        claims: pairs (better, worse) of methods' names, as its paper claims them.
        training_defaults: its paper's training where it differs from the defaults of ``TrainingOptions``.
    """

    name: ClassVar[str]
    title: ClassVar[str]
    paper: ClassVar[str]
    Options: ClassVar[type[BaseModel]]
    streams: ClassVar[Mapping[str, Stream]]
    prior: ClassVar[Prior | None] = None
    claims: ClassVar[tuple[tuple[str, str], ...]] = ()
    training_defaults: ClassVar[Mapping[str, Any]] = {}

    options: BaseModel
    task: Task

    @abstractmethod
    def optimizers(self) -> dict[str, Optimizer]:
        """Fresh optimizers by name, over all parameters."""

    @abstractmethod
    def training_step(self, batches: Batches, step: Step) -> dict[str, Tensor]:
        """One optimisation step on a batch of each stream; the losses worth a curve, as detached scalars."""

    @abstractmethod
    def pictures(self, batch: Batch) -> dict[str, Tensor]:
        """Pictures of the method at work on a batch of its first stream: name -> ``(N, C, h, w)`` in [-1, 1]."""

    @classmethod
    def prior_of(cls, options: Any) -> Prior | None:
        """The prior that is taken under these options: a variant may leave it out."""
        return cls.prior

    @classmethod
    def side_multiple(cls, options: Any) -> int:
        """What the height and width of slices must be multiples of under these options."""
        return 1

    def rate(self, step: int, constant: int, decay: int) -> float:
        """Share of the full learning rate in step 0, 1, ..: constant, then linear to 0, which it reaches at the end."""
        return 1.0 if step < constant else (constant + decay - step) / decay

    def training_state(self) -> dict[str, Any]:
        """What training needs and applying does not, an image pool for example: in checkpoints, not in the method."""
        return {}

    def load_training_state(self, state: Mapping[str, Any]) -> None:
        """Go on from there."""

    def check(self, batches: Batches) -> None:
        """Raise ``InputError`` where batches do not fit the networks, before any time is spent."""
        for name in self.streams:
            for field, tensor in batches[name].tensors.items():
                self._check_field(field, tensor)

    def _check_field(self, field: str, tensor: Tensor) -> None:
        if field == "images":
            expect("images", "channels", tensor.shape[1], self.task.channels)
            self.check_size(tensor)
        elif field == "labels":
            self.check_labels(tensor)
        elif field == self.prior_of(self.options):
            wanted = self.task.atlas_channels if field == "atlas" else TISSUES
            expect(field, "channels", tensor.shape[1], wanted)

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

    def check_size(self, pictures: Tensor) -> None:
        """Raise ``InputError`` where pictures ``(.., H, W)`` have sides that the networks cannot halve."""
        require_sides(self.name, self.side_multiple(self.options), *pictures.shape[-2:])


@runtime_checkable
class Synthesizer(Protocol):
    """Makes images from label maps and a prior.

    Optional beside it: ``confidence(batch)``, images with the coarse images and confidence maps that guided them, and
    ``judge(batch)``, its discriminators' mean logit for each real slice.
    """

    def synthesize(self, batch: Batch) -> Tensor:
        """Labels ``(N, H, W)`` and the prior of a batch -> images ``(N, C, H, W)`` in [-1, 1]."""


@runtime_checkable
class Segmenter(Protocol):
    """Finds lesions in images. Optional beside it: ``features(images)``, ``(N, D)``, by which slices are compared."""

    def segment(self, images: Tensor) -> Tensor:
        """Images ``(N, C, H, W)`` in [-1, 1] -> class probabilities ``(N, K, H, W)``."""


@runtime_checkable
class Healer(Protocol):
    """Takes lesions out of images."""

    def heal(self, images: Tensor) -> Tensor:
        """Images ``(N, C, H, W)`` in [-1, 1] -> images without the lesion, same shape and range."""


@runtime_checkable
class Inserter(Protocol):
    """Draws lesions into images."""

    def insert(self, images: Tensor, code: Tensor) -> Tensor:
        """Images ``(N, C, H, W)`` in [-1, 1] and what the lesion is to be -> images with a lesion."""


CAPABILITIES: dict[str, type] = {
    "synthesize": Synthesizer,
    "segment": Segmenter,
    "heal": Healer,
    "insert": Inserter,
}


def require_sides(method: str, multiple: int, height: int, width: int) -> None:
    """Raise ``InputError`` unless a method's networks can halve slices of this size."""
    if height % multiple or width % multiple:
        raise InputError(
            f"{method} cannot work on slices of this size",
            given=f"{height} x {width} pixels (height x width)",
            allowed=f"multiples of {multiple} for both sides",
            cure=f"choose a grid size in multiples of {multiple}, or fewer down-sampling steps",
        )


def expect(thing: str, unit: str, given: int, wanted: int) -> None:
    """Raise ``InputError`` unless a count is as the task says."""
    if given != wanted:
        switch = {"atlas": "atlas.enabled", "tissues": "tissues.enabled"}.get(thing)
        raise InputError(
            f"the {thing} have another number of {unit} than the task",
            given=given,
            allowed=wanted,
            cure=f"switch `{switch}` on for a method that needs it"
            if switch
            else "name in the task the sequences the slices were cut with",
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
def inference_mode(network: nn.Module) -> Iterator[None]:
    """Evaluation mode, no gradient; the mode that was set comes back afterwards."""
    training = network.training
    network.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        network.train(training)
