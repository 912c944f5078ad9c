"""Synthetic slices, as a node."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping

import numpy as np

from lesionlab.augmentation.manipulation import ManipulationOptions
from lesionlab.augmentation.synthetic import PlannedSlice, synthetic_count, synthetic_plan, synthetic_slices
from lesionlab.datasets.folders import Folders
from lesionlab.methods.applying import draw
from lesionlab.parameters import AugmentationOptions
from lesionlab.pipelines.running import code_of
from lesionlab.slices.cutting import StudySlices
from lesionlab.slices.store import SliceStore
from lesionlab.stages.artifact import is_current, read_receipt, writing
from lesionlab.stages.fingerprints import fingerprint_of
from lesionlab.training.runs import TrainingRun
from lesionlab.trials.plan import SynthesizerCase, TrialPlan

_BATCH = 16  # slices synthesized at once

_log = logging.getLogger(__name__)


def synthesize(
    plan: TrialPlan,
    slices: SliceStore,
    synthesizers: Mapping[str, TrainingRun],
    folders: Folders,
    options: AugmentationOptions,
) -> dict[str, SliceStore]:
    """Of each synthesizer at least as many slices as the greediest arm asks for; the others take the first of them.

    All synthesizers of one set of subjects and seed draw the same label maps. One whose slices no arm takes draws none.
    """
    return {
        case.key: _draw(case, plan.ratio(case.key), slices, synthesizers[case.key], folders, options.manipulation)
        for case in plan.synthesizers
        if plan.ratio(case.key)
    }


def _draw(
    case: SynthesizerCase,
    ratio: float,
    slices: SliceStore,
    trained: TrainingRun,
    folders: Folders,
    options: ManipulationOptions,
) -> SliceStore:
    root = folders.features("synthetic") / case.key
    own = slices.table.iloc[slices.select("train", subject=case.subjects)]
    code = code_of(synthetic_plan)
    key = fingerprint_of(slices.fingerprint, read_receipt(trained.root), case.subjects, options, case.seed, code)
    # More of them begin with the same ones, so a trial that asks for fewer takes what another has drawn.
    if is_current(root, key) and len(store := SliceStore(root)) >= synthetic_count(own, ratio):
        _log.info("synthetic slices of %s: unchanged", case.key)
        return store
    planned = synthetic_plan(own, slices.labels(), slices.classes, options, ratio, case.seed)
    with writing(root, key) as aside:
        SliceStore.write(aside, _made(slices, planned, trained), slices.sequences, slices.classes)
    return SliceStore(root)


def _made(slices: SliceStore, plan: list[PlannedSlice], trained: TrainingRun) -> Iterator[StudySlices]:
    method = trained.method()
    for start in range(0, len(plan), _BATCH):
        part = plan[start : start + _BATCH]
        real = slices.batch([planned.target for planned in part])
        images = draw(method, np.stack([planned.labels for planned in part]), real.atlas, real.tissues).images.numpy()
        yield synthetic_slices(slices.table, part, images, real.atlas, real.tissues, slices.classes)
