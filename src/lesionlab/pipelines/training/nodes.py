"""The trainings as nodes."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Container
from pathlib import Path

import numpy as np
import torch

from lesionlab.data.artifact import is_current, seal
from lesionlab.data.batches import Batch, Slices, concatenate
from lesionlab.data.fingerprints import fingerprint_of
from lesionlab.data.slice_store import SliceStore
from lesionlab.data.synthetic import REAL
from lesionlab.datasets.folders import Folders
from lesionlab.errors import InputError
from lesionlab.methods.base import Method, Task
from lesionlab.methods.cgsamr import CGSAMR, CGSAMROptions
from lesionlab.methods.registry import make_method
from lesionlab.methods.unet import UNetOptions, UNetSegmenter
from lesionlab.metrics.segmentation import dice
from lesionlab.parameters import AugmentationOptions
from lesionlab.pipelines.running import code_of
from lesionlab.pipelines.tracking import MlflowTracker
from lesionlab.training.loop import fit
from lesionlab.training.options import TrainingOptions
from lesionlab.training.runs import TrainingRun, TrainingRuns, train_once

_PREVIEWED = 4  # validation slices shown while training


def train_cgsamr(
    slices: SliceStore, folders: Folders, options: CGSAMROptions, training: TrainingOptions, seed: int
) -> TrainingRun:
    """CG-SAMR on all slices of the training subjects.

    Raises:
        InputError: none of these slices holds a lesion.
    """
    if not len(slices.select("train", "pathological")):
        raise InputError(
            "no training slice holds a lesion",
            given=f"{len(slices.select('train'))} training slices, all healthy",
            allowed="at least one with a lesion, for CG-SAMR to learn from",
            cure="give the layout a `lesion` entry, look at the masks, or change splits.seed",
        )
    training = seeded(training, seed)
    key = fingerprint_of(slices.fingerprint, options, training.decisive(), seed, code_of(CGSAMR, fit))
    return train_once(
        make_method("cgsamr", options, task_of(slices), seed),
        in_memory(slices, slices.select(split="train")),
        training,
        folders.model("cgsamr"),
        key,
        tracker=MlflowTracker("cgsamr"),
        preview=preview_of(slices),
    )


def train_unets(
    slices: SliceStore,
    synthetic: SliceStore,
    folders: Folders,
    options: UNetOptions,
    training: TrainingOptions,
    augmentation: AugmentationOptions,
    seed: int,
) -> TrainingRuns:
    """One U-Net per protocol: real slices alone, and with synthetic ones beside them.

    All train for the same number of steps (or epochs, as configured), start from the same weights and have the same
    validation slices.
    """
    training = seeded(training, seed)
    real = in_memory(slices, slices.select(split="train"))
    made = in_memory(synthetic, None)
    root = folders.model("unet")
    keys = {}
    for protocol, count in {REAL: 0, **augmentation.counts(len(real))}.items():
        extra = made.first(count)
        keys[protocol] = fingerprint_of(
            slices.fingerprint,
            synthetic.fingerprint if count else "",
            count,
            options,
            training.decisive(),
            seed,
            code_of(UNetSegmenter, fit),
        )
        train_once(
            make_method("unet", options, task_of(slices), seed),
            concatenate([real, extra]) if count else real,
            training,
            root / protocol,
            keys[protocol],
            tracker=MlflowTracker(f"unet/{protocol}"),
            validate=validation_dice(slices),
            preview=preview_of(slices),
        )
    _leave_only(root, keys)
    key = fingerprint_of(keys)
    if not is_current(root, key):
        seal(root, key)
    return TrainingRuns(root)


def _leave_only(root: Path, protocols: Container[str]) -> None:
    """Take away the segmenters of protocols that are configured no longer: they would be scored with the others."""
    for folder in root.iterdir():
        if folder.is_dir() and folder.name not in protocols:
            shutil.rmtree(folder)


def seeded(training: TrainingOptions, seed: int) -> TrainingOptions:
    """The options with the run's seed added to their own."""
    return training.model_copy(update={"seed": training.seed + seed})


def task_of(slices: SliceStore) -> Task:
    """What the slices hold."""
    return Task(sequences=tuple(slices.sequences), lesion_classes=tuple(slices.classes))


def in_memory(store: SliceStore, places: np.ndarray | None) -> Slices:
    """Slices of a store in memory."""
    return Slices.from_arrays(*store.batch(places))


def preview_of(slices: SliceStore) -> Batch:
    """A few validation slices with lesions (training ones where there are none), spread over the subjects."""
    places = slices.select(preview_split(slices), "pathological")
    chosen = places[np.linspace(0, len(places) - 1, min(_PREVIEWED, len(places))).astype(int)]
    return in_memory(slices, chosen).take(np.arange(len(chosen)))


def preview_split(slices: SliceStore) -> str:
    """The split whose slices are shown while training."""
    return "validation" if len(slices.select("validation", "pathological")) else "train"


def validation_dice(slices: SliceStore) -> Callable[[Method, int], dict[str, float]] | None:
    """Dice per class over all validation slices together, as a curve; None where there is no validation subject."""
    places = slices.select(split="validation")
    if not len(places):
        return None
    batch = in_memory(slices, places)

    def validate(method: Method, step: int) -> dict[str, float]:
        device = next(method.parameters()).device
        predicted = segment(method, batch.images.to(device)).cpu().numpy()
        truth = batch.labels.numpy()
        codes = enumerate(slices.classes, start=2)
        return {f"validation/dice_{name}": dice(predicted == code, truth == code) for code, name in codes}

    return validate


def segment(method: Method, images: torch.Tensor, size: int = 32) -> torch.Tensor:
    """Label maps ``(N, H, W)`` that a segmenter finds, some slices at a time."""
    parts = [method.segment(part).argmax(1) for part in images.split(size)]  # type: ignore[operator]
    return torch.cat(parts)
