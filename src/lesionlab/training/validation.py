"""What segmenters find, and how well on validation slices while they train."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from lesionlab.data.mapped_slices import Selection
from lesionlab.methods.base import Method
from lesionlab.metrics.segmentation import FIRST_LESION, dice
from lesionlab.training.loop import Validate

MEAN_DICE = "validation/dice"


def validation_dice(store: Path | str, places: Sequence[int], classes: Sequence[str]) -> Validate:
    """Dice per class over validation slices together, and the mean of these.

    Args:
        store: folder of a slice store.
        places: of the slices in it; never of test subjects, for checkpoints may be chosen by them.
        classes: lesion classes in the order of their codes.
    """
    batch = Selection(store=Path(store), places=tuple(places), prior=False).in_memory()
    truth = batch.labels.numpy()
    codes = dict(enumerate(classes, start=FIRST_LESION))

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
