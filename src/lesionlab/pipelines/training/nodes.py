"""The trainings of a trial as nodes."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
import torch

from lesionlab.data.batches import Batch, Slices, concatenate
from lesionlab.data.conventional import augment
from lesionlab.data.fingerprints import fingerprint_of
from lesionlab.data.slice_store import SliceStore
from lesionlab.data.synthetic import synthetic_count
from lesionlab.datasets.folders import Folders
from lesionlab.errors import InputError
from lesionlab.methods.base import Method, Task
from lesionlab.methods.registry import entry, make_method
from lesionlab.methods.unet import UNetOptions, UNetSegmenter
from lesionlab.metrics.segmentation import dice
from lesionlab.parameters import AugmentationOptions, Parameters
from lesionlab.pipelines.running import code_of
from lesionlab.pipelines.tracking import MlflowTracker
from lesionlab.training.loop import fit
from lesionlab.training.options import TrainingOptions
from lesionlab.training.runs import TrainingRun, train_once
from lesionlab.trials import leakage
from lesionlab.trials.plan import SegmenterCase, SynthesizerCase, TrialPlan, plan_trial

_PREVIEWED = 4  # validation slices shown while training

_log = logging.getLogger(__name__)


def make_plan(slices: SliceStore, cohort: pd.DataFrame, parameters: dict[str, Any], name: str) -> TrialPlan:
    """Every training of the trial of this name.

    Raises:
        InputError: the slices have a subject in another split than the cohort; there are fewer training subjects than
            the trial asks for.
    """
    leakage.require_same(leakage.splits_of(slices.table, "the slices"), leakage.splits_of(cohort, "the cohort"))
    chosen = Parameters.model_validate(parameters)
    plan = plan_trial(name, chosen.trials[name], chosen.arms, chosen.recipes(), slices.table, chosen.seed)
    _log.info("%s: %d synthesizers and %d segmenters", name, len(plan.synthesizers), len(plan.segmenters))
    return plan


def train_synthesizers(plan: TrialPlan, slices: SliceStore, folders: Folders) -> dict[str, TrainingRun]:
    """Each synthesizer on all slices of its own subjects."""
    return {case.key: _train_synthesizer(case, slices, folders) for case in plan.synthesizers}


def _train_synthesizer(case: SynthesizerCase, slices: SliceStore, folders: Folders) -> TrainingRun:
    places = slices.select("train", subject=case.subjects)
    _require_lesions(case, slices)
    training = seeded(case.recipe.training, case.seed)
    method = make_method(case.recipe.method, case.recipe.options, task_of(slices), case.seed)
    code = code_of(entry(case.recipe.method).method, fit)
    key = fingerprint_of(slices.fingerprint, case.subjects, case.recipe.options, training.decisive(), case.seed, code)
    return train_once(
        method,
        in_memory(slices, places),
        training,
        folders.model("synthesizers") / case.key,
        key,
        subjects=learnt_from(slices, places, slices, case.key),
        tracker=MlflowTracker(f"synthesizers/{case.key}"),
        preview=preview_of(slices),
    )


def _require_lesions(case: SynthesizerCase, slices: SliceStore) -> None:
    if not len(slices.select("train", "pathological", case.subjects)):
        raise InputError(
            "no training slice holds a lesion",
            given=f"{len(slices.select('train', subject=case.subjects))} training slices, all healthy",
            allowed=f"at least one with a lesion, for {case.recipe.title} to learn from",
            cure="give the layout a `lesion` entry, look at the masks, or change splits.seed",
        )


def train_segmenters(
    plan: TrialPlan,
    slices: SliceStore,
    synthetic: Mapping[str, SliceStore],
    folders: Folders,
    options: UNetOptions,
    training: TrainingOptions,
    augmentation: AugmentationOptions,
) -> dict[str, TrainingRun]:
    """One U-Net per arm, synthesizer, set of subjects and seed.

    All of one seed start from the same weights and have the same validation slices.
    """
    work = partial(_train_segmenter, slices=slices, folders=folders, options=options, augmentation=augmentation)
    return {
        case.key: work(case, synthetic[case.synthesizer] if case.synthesizer else None, training=training)
        for case in plan.segmenters
    }


def _train_segmenter(
    case: SegmenterCase,
    synthetic: SliceStore | None,
    *,
    slices: SliceStore,
    folders: Folders,
    options: UNetOptions,
    training: TrainingOptions,
    augmentation: AugmentationOptions,
) -> TrainingRun:
    places = slices.select("train", subject=case.subjects)
    parts = [(slices, places)] if case.arm.real else []
    if synthetic is not None:
        parts.append((synthetic, np.arange(synthetic_count(slices.table.iloc[places], case.arm.synthetic))))
    subjects = set().union(*(learnt_from(store, chosen, slices, case.key) for store, chosen in parts))
    training = lengthened(seeded(training, case.seed), case, sum(len(chosen) for _, chosen in parts) / len(places))
    conventional = augmentation.conventional if case.arm.conventional else None
    key = fingerprint_of(
        slices.fingerprint,
        synthetic.fingerprint if synthetic is not None else "",
        case.model_dump(mode="json", exclude={"arm_name", "synthesizer"}),
        conventional,
        options,
        training.decisive(),
        code_of(UNetSegmenter, fit, augment),
    )
    return train_once(
        make_method("unet", options, task_of(slices), case.seed),
        concatenate([in_memory(store, chosen) for store, chosen in parts]),
        training,
        folders.model("segmenters") / case.key,
        key,
        subjects=subjects,
        augment=partial(augment, options=conventional) if conventional is not None else None,
        tracker=MlflowTracker(f"segmenters/{case.key}"),
        validate=validation_dice(slices),
        preview=preview_of(slices),
    )


def lengthened(training: TrainingOptions, case: SegmenterCase, times: float) -> TrainingOptions:
    """As many steps as on real slices alone, or, where the arm asks for equal epochs, as many more as slices."""
    wanted, counted = case.arm.equal, training.unit
    factor = times if (wanted, counted) == ("epochs", "steps") else 1.0
    factor = 1 / times if (wanted, counted) == ("steps", "epochs") else factor
    changed = {name: round(getattr(training, name) * factor) for name in ("constant", "decay")}
    return training.model_copy(update=changed)


def learnt_from(store: SliceStore, places: np.ndarray, slices: SliceStore, what: str) -> set[str]:
    """Everyone who had a part in slices, real or synthetic, after a check that all of them are for training."""
    seen = leakage.subjects_of(store.table.iloc[places], leakage.people_of(slices.table))
    return leakage.require(seen, leakage.splits_of(slices.table, "the slices"), what)


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
