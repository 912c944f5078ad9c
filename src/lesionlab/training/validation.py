"""What segmenters find, and how well on validation slices while they train."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from lesionlab.data.batches import Slices
from lesionlab.data.slice_store import SliceStore
from lesionlab.methods.base import Method
from lesionlab.metrics.segmentation import FIRST_LESION, dice
from lesionlab.training.loop import Validate

MEAN_DICE = "validation/dice"


def validation_dice(store: Path | str, split: str = "validation") -> Validate | None:
    """Dice per class over all slices of a split together, and their mean; None where the split has no slices.

    Args:
        store: folder of a slice store.
        split: whose slices; never the test split, for checkpoints may be chosen by it.
    """
    slices = SliceStore(store)
    places = slices.select(split=split)
    if not len(places):
        return None
    batch = Slices.from_arrays(*slices.batch(places))
    truth = batch.labels.numpy()
    codes = dict(enumerate(slices.classes, start=FIRST_LESION))

    def validate(method: Method, step: int) -> dict[str, float]:
        device = next(method.parameters()).device
        predicted = segment(method, batch.images.to(device)).cpu().numpy()
        found = {f"{MEAN_DICE}_{name}": dice(predicted == code, truth == code) for code, name in codes.items()}
        return {**found, MEAN_DICE: float(np.mean(list(found.values())))}

    return validate


def segment(method: Method, images: torch.Tensor, size: int = 32) -> torch.Tensor:
    """Label maps ``(N, H, W)`` that a segmenter finds, some slices at a time."""
    parts = [method.segment(part).argmax(1) for part in images.split(size)]  # type: ignore[operator]
    return torch.cat(parts)
