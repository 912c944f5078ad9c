"""Trained methods applied to many slices, some at a time: on the method's own device, with results on the CPU."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from lesionlab.methods.base import Method, Segmenter, Synthesizer
from lesionlab.methods.samr import SAMR
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
    return torch.cat([method.segment(part).argmax(1).to(torch.uint8).cpu() for (part,) in _parts(method, size, images)])


def draw(method: Method, labels: Many, prior: Many, size: int = SLICES) -> Synthesis:
    """Label maps ``(N, H, W)`` and their atlas ``(N, 3C, H, W)`` -> images, with what guided them where there is such.

    Raises:
        TypeError: a method that makes no images.
    """
    if not isinstance(method, Synthesizer):
        raise TypeError(f"{method.name} synthesizes no images")
    made = [_drawn(method, maps.long(), atlas) for maps, atlas in _parts(method, size, labels, prior)]
    return Synthesis(*(None if kind[0] is None else torch.cat(kind) for kind in zip(*made, strict=True)))  # type: ignore[arg-type]


def judge(method: SAMR, batch: Batch) -> Tensor:
    """What a synthesizer's discriminators think of real slices, ``(N,)``; see :meth:`SAMR.judge`."""
    return method.judge(Batch(*(tensor.to(_device(method)) for tensor in batch))).cpu()


def _drawn(method: Synthesizer, labels: Tensor, prior: Tensor) -> Synthesis:
    if isinstance(method, SAMR):
        made = method.synthesize_with_confidence(labels, prior)
        return Synthesis(*(None if one is None else one.cpu() for one in made))  # type: ignore[arg-type]
    return Synthesis(method.synthesize(labels, prior).cpu())


def _parts(method: Method, size: int, *sets: Many) -> Iterator[tuple[Tensor, ...]]:
    device = _device(method)
    for start in range(0, len(sets[0]), size):
        yield tuple(torch.as_tensor(one[start : start + size]).to(device) for one in sets)


def _device(method: Method) -> torch.device:
    return next(method.parameters()).device
