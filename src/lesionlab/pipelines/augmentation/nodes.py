"""Synthetic slices, as a node."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import torch

from lesionlab.data.artifact import is_current, read_receipt, writing
from lesionlab.data.fingerprints import fingerprint_of
from lesionlab.data.slice_store import SliceStore
from lesionlab.data.slices import StudySlices
from lesionlab.data.synthetic import PlannedSlice, synthetic_plan, synthetic_slices
from lesionlab.datasets.folders import Folders
from lesionlab.methods.base import Synthesizer
from lesionlab.parameters import AugmentationOptions
from lesionlab.pipelines.running import code_of
from lesionlab.training.runs import TrainingRun

_BATCH = 16  # slices synthesized at once

_log = logging.getLogger(__name__)


def synthesize(
    slices: SliceStore, cgsamr: TrainingRun, folders: Folders, options: AugmentationOptions, seed: int
) -> SliceStore:
    """As many synthetic slices as the largest protocol asks for; smaller ones take the first of them."""
    root = folders.features("synthetic")
    trained = read_receipt(cgsamr.root)
    key = fingerprint_of(slices.fingerprint, trained, options, seed, code_of(synthetic_plan))
    if is_current(root, key):
        _log.info("synthetic slices: unchanged")
        return SliceStore(root)
    training = slices.table.iloc[slices.select(split="train")]
    ratio = max(options.ratios.values())
    plan = synthetic_plan(training, slices.labels(), slices.classes, options.manipulation, ratio, seed)
    with writing(root, key) as aside:
        SliceStore.write(aside, _made(slices, plan, cgsamr), slices.sequences, slices.classes)
    return SliceStore(root)


def _made(slices: SliceStore, plan: list[PlannedSlice], cgsamr: TrainingRun) -> Iterator[StudySlices]:
    method = cgsamr.method()
    if not isinstance(method, Synthesizer):
        raise TypeError(f"{method.name} synthesizes no images")
    for start in range(0, len(plan), _BATCH):
        part = plan[start : start + _BATCH]
        real = slices.batch([planned.target for planned in part])
        maps = torch.stack([torch.from_numpy(planned.labels).long() for planned in part])
        images = method.synthesize(maps, torch.from_numpy(real.atlas)).cpu().numpy()
        yield synthetic_slices(slices.table, part, images, real.atlas, real.tissues, slices.classes)
