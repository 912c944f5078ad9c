"""Training runs as folders: trained once for what they were made from, continued where they stopped."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from lesionlab.methods.base import Method
from lesionlab.slices.mapped import Selection
from lesionlab.stages.artifact import is_current, seal
from lesionlab.training.alone import alone_in
from lesionlab.training.checkpoint import load_method
from lesionlab.training.device import device_here
from lesionlab.training.folder import SUBJECTS, VALIDATED_ON, begin, started
from lesionlab.training.identity import describe
from lesionlab.training.launch import Maker, fit_on_devices
from lesionlab.training.loop import HISTORY, IMAGES, TRAINED
from lesionlab.training.options import TrainingOptions
from lesionlab.training.side_by_side import Place

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class TrainingRun:
    """A finished training.

    Attributes:
        root: its folder.
    """

    root: Path

    def method(self) -> Method:
        """The trained method in evaluation mode, on the kind of device it was to be trained on, where this machine
        has it, else the CPU; channels last, in which convolutions are fastest."""
        method = load_method(self.root / TRAINED, device_here(started(self.root).get("device", "auto")))
        return method.to(memory_format=torch.channels_last)  # type: ignore[call-overload, no-any-return]

    def subjects(self) -> list[str]:
        """Whose slices it was trained on, as was written down when it began."""
        found: list[str] = json.loads((self.root / SUBJECTS).read_text(encoding="utf-8"))
        return found

    def validated_on(self) -> list[str]:
        """Whose slices it was validated on, and its checkpoint perhaps chosen by."""
        found: list[str] = json.loads((self.root / VALIDATED_ON).read_text(encoding="utf-8"))
        return found

    def history(self) -> pd.DataFrame:
        """Its curves: columns ``step``, ``name``, ``value``."""
        return pd.read_csv(self.root / HISTORY)

    def moments(self) -> dict[int, dict[str, np.ndarray]]:
        """The pictures taken on the way: step -> name -> ``(N, C, h, w)`` in [-1, 1]."""
        found = {}
        for path in sorted((self.root / IMAGES).glob("step-*.npz")):
            with np.load(path, allow_pickle=False) as pictures:
                found[int(path.stem.removeprefix("step-"))] = {name: pictures[name] for name in pictures.files}
        return found


def train_once(
    method: Method,
    streams: Mapping[str, Sequence[Selection]],
    options: TrainingOptions,
    folder: Path,
    key: str,
    *,
    subjects: Iterable[str] = (),
    validated_on: Iterable[str] = (),
    augment: Maker | None = None,
    tracker: Maker | None = None,
    validate: Maker | None = None,
    preview: Selection | None = None,
    where: Place | None = None,
) -> TrainingRun:
    """Train, unless the folder holds the finished run already; a stopped run of the same key goes on.

    Args:
        method: freshly built.
        streams: slices of slice stores, in order, of each of the method's streams; in memory or mapped, as the options
            say.
        options: length, batch, numerics, devices.
        folder: of this run alone. What another run left there is kept beside it, see :mod:`lesionlab.training.folder`.
        key: fingerprint of everything the run is made from.
        subjects: whose slices they are, kept beside the run.
        validated_on: whose slices the validation looks at, kept beside the run.
        augment: makes what changes every batch.
        tracker: makes what receives curves and pictures.
        validate: makes the validation.
        preview: slices that pictures are made of.
        where: a place beside other trainings, and what its processes have to know; by default alone.

    Raises:
        InputError: another run trains in this folder now; and all that :func:`lesionlab.training.loop.fit` raises.
    """
    if _is_there(folder, key):
        return TrainingRun(folder)
    with alone_in(folder):
        begin(folder, key, _made_from(method, options), options.device, subjects, validated_on)
    fit_on_devices(
        method,
        streams,
        options,
        folder,
        augment=augment,
        tracker=tracker,
        validate=validate,
        preview=preview,
        where=where,
    )
    with alone_in(folder):
        seal(folder, key)
    return TrainingRun(folder)


def _made_from(method: Method, options: TrainingOptions) -> dict[str, Any]:
    return {**describe(method), "training": options.decisive()}


def _is_there(folder: Path, key: str) -> bool:
    if is_current(folder, key):
        _log.info("%s: trained already, nothing changed", folder.name)
        return True
    return False
