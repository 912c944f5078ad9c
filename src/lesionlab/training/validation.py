"""What methods find and make of validation slices while they train: what a checkpoint may be chosen by."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from lesionlab.methods.applying import draw, segment
from lesionlab.methods.base import Method
from lesionlab.metrics.segmentation import FIRST_LESION, dice
from lesionlab.metrics.synthesis import pixel_accuracy
from lesionlab.slices.mapped import Selection
from lesionlab.training.loop import Validate

MEAN_DICE = "validation/dice"
MEAN_ACCURACY = "validation/pixel_accuracy"
BRAIN = "brain"  # without lesion


def validation_dice(store: Path | str, places: Sequence[int], classes: Sequence[str]) -> Validate:
    """Dice per class over validation slices together, and the mean of these.

    A class that no slice has is left out: its Dice jumps from 1 to 0 with a single invented pixel, and would outweigh
    the others where a checkpoint is chosen by the mean. Where no slice has any, nothing is left but such jumps.

    Args:
        store: folder of a slice store.
        places: of the slices in it; never of test subjects, for checkpoints may be chosen by them.
        classes: lesion classes in the order of their codes.
    """
    slices = Selection(store=Path(store), places=tuple(places), fields=("images", "labels")).in_memory().tensors
    truth = slices["labels"].numpy()
    codes = dict(enumerate(classes, start=FIRST_LESION))
    codes = {code: name for code, name in codes.items() if (truth == code).any()} or codes

    def validate(method: Method, step: int) -> dict[str, float]:
        predicted = segment(method, slices["images"]).numpy()
        found = {f"{MEAN_DICE}_{name}": dice(predicted == code, truth == code) for code, name in codes.items()}
        return {**found, MEAN_DICE: float(np.mean(list(found.values())))}

    return validate


def validation_accuracy(store: Path | str, places: Sequence[int], classes: Sequence[str]) -> Validate:
    """Pixel accuracy of synthesized validation slices: brain without lesion, each lesion class, and the mean of these.

    Each is the mean over the sequences; a class that no slice has is left out.

    Args:
        store: folder of a slice store, with an atlas.
        places: of the slices in it; never of test subjects, for checkpoints may be chosen by them.
        classes: lesion classes in the order of their codes.
    """
    slices = Selection(store=Path(store), places=tuple(places)).in_memory().tensors
    real, labels = slices["images"].numpy(), slices["labels"].numpy()
    codes = dict(enumerate([BRAIN, *classes], start=FIRST_LESION - 1))
    masks = {name: mask for code, name in codes.items() if (mask := labels == code).any()}

    def validate(method: Method, step: int) -> dict[str, float]:
        made = draw(method, slices["labels"], slices["atlas"], slices["tissues"]).images.numpy()
        found = {
            f"{MEAN_ACCURACY}_{name}": float(np.mean([pixel_accuracy(*pair, mask) for pair in _channels(made, real)]))
            for name, mask in masks.items()
        }
        return {**found, MEAN_ACCURACY: float(np.mean(list(found.values())))}

    return validate


def _channels(made: np.ndarray, real: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    return zip(made.swapaxes(0, 1), real.swapaxes(0, 1), strict=True)
