"""The trainings of a trial as nodes."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from functools import partial
from typing import Any

import numpy as np
import pandas as pd

from lesionlab.augmentation.conventional import ConventionalOptions, augment, augmenter
from lesionlab.augmentation.synthetic import synthetic_count
from lesionlab.datasets.folders import Folders
from lesionlab.errors import InputError
from lesionlab.methods.base import Task
from lesionlab.methods.registry import entry, make_method
from lesionlab.methods.unet import UNetOptions, UNetSegmenter
from lesionlab.parameters import AugmentationOptions, Parameters, RunOptions
from lesionlab.pipelines.running import code_of
from lesionlab.pipelines.tracking import make_tracker, tracking_variables
from lesionlab.slices.mapped import Selection
from lesionlab.slices.store import SliceStore
from lesionlab.stages.fingerprints import fingerprint_of
from lesionlab.training.launch import Maker
from lesionlab.training.loop import fit
from lesionlab.training.options import TrainingOptions
from lesionlab.training.runs import TrainingRun, train_once_on_devices
from lesionlab.training.side_by_side import Place, side_by_side
from lesionlab.training.validation import validation_accuracy, validation_dice
from lesionlab.trials import leakage
from lesionlab.trials.plan import SegmenterCase, SynthesizerCase, TrialPlan, plan_trial

_PREVIEWED = 4  # validation slices shown while training
_AUGMENT = f"{augment.__module__}:{augmenter.__name__}"
_VALIDATE_SEGMENTER = f"{validation_dice.__module__}:{validation_dice.__name__}"
_VALIDATE_SYNTHESIZER = f"{validation_accuracy.__module__}:{validation_accuracy.__name__}"
_TRACK = f"{make_tracker.__module__}:{make_tracker.__name__}"

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
    _say_absent_classes(plan, slices)
    return plan


def _say_absent_classes(plan: TrialPlan, slices: SliceStore) -> None:
    for subjects in dict.fromkeys(case.subjects for case in plan.segmenters):
        table = slices.table.iloc[slices.select("train", subject=subjects)]
        if absent := [name for name in slices.classes if not table[f"pixels_{name}"].any()]:
            _log.warning(
                "no slice of the %d training subjects has %s: what is trained on them cannot learn it",
                len(subjects),
                ", ".join(absent),
            )


def train_synthesizers(
    plan: TrialPlan, slices: SliceStore, folders: Folders, augmentation: AugmentationOptions, run_options: RunOptions
) -> dict[str, TrainingRun]:
    """Each synthesizer on all slices of its own subjects."""
    work = partial(_train_synthesizer, slices=slices, folders=folders, changes=augmentation.synthesizers)
    works = {case.key: partial(work, case) for case in plan.synthesizers}
    return side_by_side(works, run_options.trainings, tracking_variables())


def _train_synthesizer(
    case: SynthesizerCase, where: Place, *, slices: SliceStore, folders: Folders, changes: ConventionalOptions | None
) -> TrainingRun:
    places = slices.select("train", subject=case.subjects)
    _require_lesions(case, slices)
    training = seeded(case.recipe.training, case.seed)
    method = make_method(case.recipe.method, case.recipe.options, task_of(slices), case.seed)
    judge = validation(slices, _VALIDATE_SYNTHESIZER)
    key = fingerprint_of(
        slices.fingerprint,
        case.subjects,
        case.recipe.options,
        changes,
        training.decisive(),
        case.seed,
        code_of(entry(case.recipe.method).method, fit, augment, validation_accuracy),
    )
    return train_once_on_devices(
        method,
        [selection(slices, places)],
        training,
        folders.model("synthesizers") / case.key,
        key,
        subjects=learnt_from(slices, places, slices, case.key),
        augment=changing(changes),
        validate=judge,
        validated_on=judged_on(judge, slices),
        tracker=tracker(f"synthesizers/{case.key}"),
        preview=selection(slices, preview_places(slices)),
        where=where,
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
    run_options: RunOptions,
) -> dict[str, TrainingRun]:
    """One U-Net per arm, synthesizer, set of subjects and seed.

    All of one seed start from the same weights and have the same validation slices.
    """
    work = partial(
        _train_segmenter,
        drawn=synthetic,
        slices=slices,
        folders=folders,
        options=options,
        training=training,
        augmentation=augmentation,
    )
    works = {case.key: partial(work, case) for case in plan.segmenters}
    return side_by_side(works, run_options.trainings, tracking_variables())


def _train_segmenter(
    case: SegmenterCase,
    where: Place,
    *,
    drawn: Mapping[str, SliceStore],
    slices: SliceStore,
    folders: Folders,
    options: UNetOptions,
    training: TrainingOptions,
    augmentation: AugmentationOptions,
) -> TrainingRun:
    places = slices.select("train", subject=case.subjects)
    synthetic = drawn[case.synthesizer] if case.synthesizer else None
    parts = [(slices, places)] if case.arm.real else []
    if synthetic is not None:
        parts.append((synthetic, np.arange(synthetic_count(slices.table.iloc[places], case.arm.synthetic))))
    subjects = set().union(*(learnt_from(store, chosen, slices, case.key) for store, chosen in parts))
    training = lengthened(seeded(training, case.seed), case, sum(len(chosen) for _, chosen in parts) / len(places))
    conventional = augmentation.conventional if case.arm.conventional else None
    judge = validation(slices, _VALIDATE_SEGMENTER)
    key = fingerprint_of(
        slices.fingerprint,
        synthetic.fingerprint if synthetic is not None else "",
        case.model_dump(mode="json", exclude={"arm_name", "synthesizer"}),
        conventional,
        options,
        training.decisive(),
        code_of(UNetSegmenter, fit, augment, validation_dice),
    )
    return train_once_on_devices(
        make_method("unet", options, task_of(slices), case.seed),
        [selection(store, chosen, prior=False) for store, chosen in parts],
        training,
        folders.model("segmenters") / case.key,
        key,
        subjects=subjects,
        augment=changing(conventional),
        tracker=tracker(f"segmenters/{case.key}"),
        validate=judge,
        validated_on=judged_on(judge, slices),
        preview=selection(slices, preview_places(slices), prior=False),
        where=where,
    )


def lengthened(training: TrainingOptions, case: SegmenterCase, times: float) -> TrainingOptions:
    """As many steps as on real slices alone, or, for equal epochs, as many more as slices; times the arm's length."""
    wanted, counted = case.arm.equal, training.unit
    factor = times if (wanted, counted) == ("epochs", "steps") else 1.0
    factor = 1 / times if (wanted, counted) == ("steps", "epochs") else factor
    changed = {name: round(getattr(training, name) * factor * case.arm.length) for name in ("constant", "decay")}
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


def selection(store: SliceStore, places: np.ndarray, prior: bool = True) -> Selection:
    """Slices of a store, for a training that reads them itself."""
    return Selection(store=store.root.resolve(), places=tuple(places.tolist()), prior=prior)


def changing(options: ConventionalOptions | None) -> Maker | None:
    """Chance changes of every batch, for a training that draws them itself; None for none."""
    return Maker(target=_AUGMENT, arguments=options.model_dump()) if options is not None else None


def tracker(prefix: str) -> Maker:
    """The active MLflow run, for a training that logs into it itself."""
    return Maker(target=_TRACK, arguments={"prefix": prefix})


def validation(slices: SliceStore, by: str) -> Maker | None:
    """A measure on the validation slices, for a training that takes it itself; None where there is no such slice."""
    places = slices.select(split="validation").tolist()
    about = {"store": str(slices.root.resolve()), "places": places, "classes": slices.classes}
    return Maker(target=by, arguments=about) if places else None


def judged_on(judge: Maker | None, slices: SliceStore) -> set[str]:
    """Whose slices a validation looks at."""
    return set(slices.table.iloc[judge.arguments["places"]]["subject"].astype(str)) if judge else set()


def preview_places(slices: SliceStore) -> np.ndarray:
    """A few validation slices with lesions (training ones where there are none), spread over the subjects."""
    places = slices.select(preview_split(slices), "pathological")
    return places[np.linspace(0, len(places) - 1, min(_PREVIEWED, len(places))).astype(int)]


def preview_split(slices: SliceStore) -> str:
    """The split whose slices are shown while training."""
    return "validation" if len(slices.select("validation", "pathological")) else "train"
