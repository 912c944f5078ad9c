"""The trainings of a trial as nodes."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from lesionlab.augmentation.conventional import ConventionalOptions, augment, augmenter
from lesionlab.augmentation.synthetic import synthetic_count
from lesionlab.datasets.folders import Folders
from lesionlab.errors import InputError
from lesionlab.methods.base import Synthesizer, Task
from lesionlab.methods.registry import find, make_method
from lesionlab.parameters import AugmentationOptions, Parameters, RunOptions
from lesionlab.pipelines.running import code_of
from lesionlab.pipelines.tracking import make_tracker, tracking_variables
from lesionlab.slices.batches import Stream
from lesionlab.slices.mapped import Selection
from lesionlab.slices.store import SliceStore
from lesionlab.stages.fingerprints import fingerprint_of
from lesionlab.training.launch import Maker
from lesionlab.training.loop import Validate, fit
from lesionlab.training.options import TrainingOptions
from lesionlab.training.runs import TrainingRun, train_once
from lesionlab.training.side_by_side import Place, side_by_side
from lesionlab.training.validation import validation_accuracy, validation_dice
from lesionlab.trials import leakage
from lesionlab.trials.plan import SegmenterCase, SynthesizerCase, TrialPlan, plan_trial

_PREVIEWED = 4  # validation slices shown while training
_AUGMENT = f"{augment.__module__}:{augmenter.__name__}"
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
    plan = plan_trial(
        name,
        chosen.trial(name),
        chosen.arms,
        chosen.recipes(),
        chosen.segmenters(name),
        slices.table,
        chosen.seed,
    )
    _log.info("%s: %d synthesizers and %d segmenters", name, len(plan.synthesizers), len(plan.segmenters))
    _warn_of_absent_classes(plan, slices)
    return plan


def _warn_of_absent_classes(plan: TrialPlan, slices: SliceStore) -> None:
    for subjects in dict.fromkeys(case.subjects for case in plan.segmenters):
        table = slices.table.iloc[slices.select("train", subject=subjects)]
        if absent := [name for name in slices.classes if not table[f"pixels_{name}"].any()]:
            _log.warning(
                "no slice of the %d training subjects has %s: what is trained on them cannot learn it",
                len(subjects),
                ", ".join(absent),
            )


Parts = list[tuple[SliceStore, np.ndarray]]  # slices of stores, in order


def train_synthesizers(
    plan: TrialPlan, slices: SliceStore, folders: Folders, augmentation: AugmentationOptions, run_options: RunOptions
) -> dict[str, TrainingRun]:
    """Each synthesizer on all slices of its own subjects."""

    def train(case: SynthesizerCase, where: Place) -> TrainingRun:
        _require_lesions(case, slices)
        parts = [(slices, slices.select("train", subject=case.subjects))]
        made_from = (slices.fingerprint, case.subjects, augmentation.synthesizers, case.seed)
        training = seeded(case.recipe.training, case.seed)
        folder = folders.model("synthesizers") / case.key
        return _train(case, parts, training, made_from, augmentation.synthesizers, folder, slices, where)

    works = {case.key: partial(train, case) for case in plan.synthesizers}
    return side_by_side(works, run_options.trainings, tracking_variables())


def train_segmenters(
    plan: TrialPlan,
    slices: SliceStore,
    synthetic: Mapping[str, SliceStore],
    folders: Folders,
    augmentation: AugmentationOptions,
    run_options: RunOptions,
) -> dict[str, TrainingRun]:
    """One segmenter per method, arm, synthesizer, set of subjects and seed.

    All of one method and seed start from the same weights and have the same validation slices.
    """

    def train(case: SegmenterCase, where: Place) -> TrainingRun:
        places = slices.select("train", subject=case.subjects)
        drawn = synthetic[case.synthesizer] if case.synthesizer else None
        parts = [(slices, places)] if case.arm.real else []
        if drawn is not None:
            parts.append((drawn, np.arange(synthetic_count(slices.table.iloc[places], case.arm.synthetic))))
        times = sum(len(chosen) for _, chosen in parts) / len(places)
        training = lengthened(seeded(case.recipe.training, case.seed), case, times)
        changes = augmentation.conventional if case.arm.conventional else None
        drawn_from = drawn.fingerprint if drawn is not None else ""
        about = case.model_dump(mode="json", exclude={"arm_name", "synthesizer", "recipe"})
        folder = folders.model("segmenters") / case.key
        made_from = (slices.fingerprint, drawn_from, about, changes)
        return _train(case, parts, training, made_from, changes, folder, slices, where)

    works = {case.key: partial(train, case) for case in plan.segmenters}
    return side_by_side(works, run_options.trainings, tracking_variables())


def _train(
    case: SynthesizerCase | SegmenterCase,
    parts: Parts,
    training: TrainingOptions,
    made_from: tuple[object, ...],
    changes: ConventionalOptions | None,
    folder: Path,
    slices: SliceStore,
    where: Place,
) -> TrainingRun:
    """A case's method on slices of its subjects, each of its streams with the domain and fields that it names."""
    kind = find(case.recipe.method)
    measure = validation_accuracy if issubclass(kind, Synthesizer) else validation_dice
    judge = validation(slices, measure)
    key = fingerprint_of(*made_from, case.recipe.options, training.decisive(), code_of(kind, fit, augment, measure))
    first = next(iter(kind.streams.values()))
    return train_once(
        make_method(case.recipe.method, case.recipe.options, task_of(slices), case.seed),
        {name: _of_stream(parts, stream, case) for name, stream in kind.streams.items()},
        training,
        folder,
        key,
        subjects=set().union(*(learnt_from(store, chosen, slices, case.key) for store, chosen in parts)),
        augment=changing(changes),
        validate=judge,
        validated_on=judged_on(judge, slices),
        tracker=tracker("/".join(folder.parts[-len(case.key.split("/")) - 1 :])),
        preview=selection(slices, preview_places(slices), first.fields),
        where=where,
    )


def _of_stream(parts: Parts, stream: Stream, case: SynthesizerCase | SegmenterCase) -> list[Selection]:
    """The slices of a stream's domain, with its fields."""
    found = []
    for store, places in parts:
        if stream.domain != "all":
            places = places[store.table["domain"].to_numpy()[places] == stream.domain]
        if len(places):
            found.append(selection(store, places, stream.fields))
    if not found:
        raise InputError(
            f"there is no {stream.domain} training slice for {case.recipe.title}",
            given=f"{sum(len(places) for _, places in parts)} slices of {len(case.subjects)} training subjects",
            allowed="at least one batch of each domain that the method learns from",
            cure="look at the masks and at `slices`, which says when a slice is healthy, or change the split",
        )
    return found


def _require_lesions(case: SynthesizerCase, slices: SliceStore) -> None:
    if not len(slices.select("train", "pathological", case.subjects)):
        raise InputError(
            "no training slice holds a lesion",
            given=f"{len(slices.select('train', subject=case.subjects))} training slices, all healthy",
            allowed=f"at least one with a lesion, for {case.recipe.title} to learn from",
            cure="give the layout a `lesion` entry, look at the masks, or change splits.seed",
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
    height, width = slices.labels().shape[1:]
    return Task(sequences=tuple(slices.sequences), lesion_classes=tuple(slices.classes), size=(int(height), int(width)))


def selection(store: SliceStore, places: np.ndarray, fields: tuple[str, ...]) -> Selection:
    """Slices of a store, for a training that reads them itself."""
    return Selection(store=store.root.resolve(), places=tuple(places.tolist()), fields=fields)


def changing(options: ConventionalOptions | None) -> Maker | None:
    """Chance changes of every batch, for a training that draws them itself; None for none."""
    return Maker(target=_AUGMENT, arguments=options.model_dump()) if options is not None else None


def tracker(prefix: str) -> Maker:
    """The active MLflow run, for a training that logs into it itself."""
    return Maker(target=_TRACK, arguments={"prefix": prefix})


def validation(slices: SliceStore, measure: Callable[..., Validate]) -> Maker | None:
    """A measure on the validation slices, for a training that takes it itself; None where there is no such slice."""
    places = slices.select(split="validation").tolist()
    about = {"store": str(slices.root.resolve()), "places": places, "classes": slices.classes}
    return Maker(target=f"{measure.__module__}:{measure.__name__}", arguments=about) if places else None


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
