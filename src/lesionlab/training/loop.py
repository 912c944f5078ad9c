"""The one training loop, for every method: the method updates its networks, the loop does the rest."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import nullcontext
from pathlib import Path

import pandas as pd

from lesionlab.methods.base import Method
from lesionlab.slices.batches import Batch, SliceSource
from lesionlab.training.alone import alone_in
from lesionlab.training.options import TrainingOptions
from lesionlab.training.randomness import own_randomness
from lesionlab.training.run import BEST, CHECKPOINT, HISTORY, IMAGES, TRAINED, Augment, Run, Validate
from lesionlab.training.tracker import NoTracker, Tracker

__all__ = ["BEST", "CHECKPOINT", "HISTORY", "IMAGES", "TRAINED", "Augment", "Validate", "fit"]


def fit(
    method: Method,
    slices: SliceSource | Mapping[str, SliceSource],
    options: TrainingOptions,
    folder: str | Path,
    *,
    augment: Augment | None = None,
    tracker: Tracker | None = None,
    validate: Validate | None = None,
    preview: Batch | None = None,
    resume: bool = True,
) -> pd.DataFrame:
    """Train ``method`` in place; leave ``last.pt``, ``method.pt``, ``history.csv`` and ``images/`` in ``folder``.

    While it trains, ``folder`` holds at most two checkpoints, ``last.pt`` and (with the option ``best``) ``best.pt``,
    and beside each for a while the one that will take its place; ``method.pt`` is one of them without the state of the
    training.

    Started by torchrun, each process calls it with the same arguments and takes its part of every batch. The first one
    alone writes, validates and tells the tracker.

    Args:
        method: freshly built; a continued run replaces its weights by the checkpoint's.
        slices: the training slices of each stream, in memory or on disk; of a method with one stream, these alone.
        options: length, batch, numerics.
        folder: of this run alone; made where it is missing.
        augment: changes every batch before the method sees it; draws from torch's generator alone, on the device.
        tracker: receives curves and pictures.
        validate: called with the method, in inference mode, and the step; returns scalars by name.
        preview: slices that pictures are made of; a few training slices by default.
        resume: go on from a checkpoint in ``folder``, where there is one. A finished run is loaded and returned.

    Returns:
        The history: columns ``step``, ``name``, ``value``.

    Raises:
        InputError: slices that do not fit the method; a batch larger than their number; a device that is not there;
            a checkpoint that is damaged or belongs to another run; a folder in which another run is at work; a full
            disk.
        Diverged: a loss or weight that is no longer finite, or a loss above its limit.
        Interrupted: SIGTERM, SIGUSR1 or the time budget stopped the run; the same call goes on.
    """
    with own_randomness(options.seed):
        streams = slices if isinstance(slices, Mapping) else {next(iter(method.streams)): slices}
        run = Run(method, streams, options, Path(folder), tracker or NoTracker(), validate, preview, augment)
        with alone_in(run.folder) if run.ranks.leads else nullcontext():
            if resume:
                run.restore()
            run.train()
    return run.history.table()
