"""Trained methods applied to many slices, some at a time: on the method's own device, with results on the CPU."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from lesionlab.methods.base import Method, Segmenter, Synthesizer
from lesionlab.networks.decoder import Synthesis
from lesionlab.slices.batches import Batch

SLICES = 32  # on the device at a time


class Many(Protocol):
    """What gives some of its slices at a time: an array, a tensor, or rows that lie on disk."""

    def __len__(self) -> int: ...

    def __getitem__(self, at: slice, /) -> np.ndarray | Tensor: ...


def segment(method: Method, images: Many, size: int = SLICES) -> Tensor:
    """Images ``(N, C, H, W)`` in [-1, 1] -> the label maps ``(N, H, W)`` uint8 that a segmenter finds.

    Raises:
        TypeError: a method that finds no lesions.
    """
    if not isinstance(method, Segmenter):
        raise TypeError(f"{method.name} segments no images")
    found = [method.segment(part.images).argmax(1) for part in _parts(method, size, images=images)]
    return torch.cat([labels.to(torch.uint8).cpu() for labels in found])


def draw(method: Method, labels: Many, atlas: Many, tissues: Many, size: int = SLICES) -> Synthesis:
    """Label maps and priors -> images, with the coarse images and confidence maps where there are any.

    Args:
        method: a synthesizer.
        labels: ``(N, H, W)``.
        atlas, tissues: ``(N, 3C, H, W)`` and ``(N, 3, H, W)``, of which the method is given the prior that it names.
        size: slices on the device at a time.

    Raises:
        TypeError: a method that makes no images.
    """
    if not isinstance(method, Synthesizer):
        raise TypeError(f"{method.name} synthesizes no images")
    prior = {"atlas": atlas, "tissues": tissues}
    given = {name: prior[name] for name in prior if name == method.prior}
    made = [_drawn(method, part) for part in _parts(method, size, labels=labels, **given)]
    return Synthesis(*(None if kind[0] is None else torch.cat(kind) for kind in zip(*made, strict=True)))  # type: ignore[arg-type]


def judge(method: Method, batch: Batch) -> Tensor:
    """What a synthesizer's discriminators think of real slices, ``(N,)``.

    Raises:
        TypeError: a method without the trait ``judge``.
    """
    if not hasattr(method, "judge"):
        raise TypeError(f"{method.name} judges no slices")
    device = device_of(method)
    return method.judge(batch.map(lambda tensor: tensor.to(device))).cpu()  # type: ignore[operator, no-any-return]


def device_of(method: Method) -> torch.device:
    """Where a method's weights are."""
    return next(method.parameters()).device


def _drawn(method: Synthesizer, batch: Batch) -> Synthesis:
    if not hasattr(method, "confidence"):
        return Synthesis(method.synthesize(batch).cpu())
    return Synthesis(*(None if one is None else one.cpu() for one in method.confidence(batch)))  # type: ignore[arg-type]


def _parts(method: Method, size: int, **fields: Many) -> Iterator[Batch]:
    device = device_of(method)
    for start in range(0, len(next(iter(fields.values()))), size):
        batch = Batch(**{name: torch.as_tensor(one[start : start + size]).to(device) for name, one in fields.items()})
        yield batch.replace(labels=batch.labels.long()) if "labels" in batch.fields else batch
