"""Which synthetic slices to make, and how they enter a slice store beside the real ones."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from lesionlab.augmentation.manipulation import Donor, ManipulationOptions, manipulate
from lesionlab.errors import InputError
from lesionlab.slices.cutting import BACKGROUND, IMAGE_BACKGROUND, StudySlices, count_pixels

TRAIN = "train"


class PlannedSlice(NamedTuple):
    """One synthetic slice to be made.

    Attributes:
        target: `index` of the real slice whose brain, atlas and tissues it has.
        labels: ``(H, W)`` uint8, the new label map.
        record: what was done, JSON-able.
    """

    target: int
    labels: np.ndarray
    record: dict[str, Any]


def synthetic_count(table: pd.DataFrame, ratio: float) -> int:
    """How many synthetic slices are ``ratio`` times the real ones of a table."""
    return round(ratio * len(table))


def synthetic_plan(
    table: pd.DataFrame,
    labels: np.ndarray,
    classes: Sequence[str],
    options: ManipulationOptions,
    ratio: float,
    seed: int,
) -> list[PlannedSlice]:
    """Plan synthetic slices: :func:`synthetic_count` manipulated label maps.

    Targets are the pathological slices of the table, each once before any comes again; donors are pathological slices
    of other subjects. The plan of a smaller ratio is the beginning of the plan of a larger one.

    Args:
        table: the real slices of the training run, rows of a slice store's table; training split only.
        labels: ``(N, H, W)`` uint8 label maps of the whole store (`index` points into it); may be memory-mapped.
        classes: lesion classes in the order of their codes.
        options: see `ManipulationOptions`.
        ratio: synthetic over real slices, 0.5 and 1.0 in the paper.
        seed: of the run; slice i of the plan depends on the seed, on i and on the table alone.

    Raises:
        ValueError: the table holds slices of another split, or synthetic ones (augmentation must leak nothing).
        InputError: no training slice has a lesion.
    """
    _check_training_only(table)
    sick = table[table["domain"] == "pathological"]
    if sick.empty:
        raise InputError(
            "no training slice is pathological, so there is no lesion to manipulate",
            given=f"{len(table)} training slices",
            allowed="at least one slice with a lesion",
            cure="lower slices.pathological_min_lesion_pixels or change the splits",
        )
    maps = {int(i): np.asarray(labels[int(i)]) for i in sick["index"]}
    rows = sick.to_dict("records")
    everyone = [Donor(maps[row["index"]], row["subject"], row["study"], row["plane"]) for row in rows]
    donors = {own: [d for d in everyone if d.subject != own] for own in sick["subject"].unique()}
    plan = []
    for number in range(synthetic_count(table, ratio)):
        row = rows[_target(number, len(rows), seed)]
        rng = np.random.default_rng([seed, number])
        new, record = manipulate(maps[row["index"]], donors[row["subject"]], rng, classes, options)
        target = {key: row[key] for key in ("subject", "study", "plane", "index")}
        plan.append(PlannedSlice(int(row["index"]), new, {**record, "target": target, "seed": seed, "number": number}))
    return plan


def _check_training_only(table: pd.DataFrame) -> None:
    splits = sorted(set(table["split"]) - {TRAIN})
    if splits:
        raise ValueError(f"synthetic slices come from training subjects only; the table also holds {splits}")
    if "source" in table and (table["source"] != "real").any():
        raise ValueError("synthetic slices are made from real ones only; the table holds synthetic slices")


def _target(number: int, rows: int, seed: int) -> int:
    """Row of the number-th target: a new random order for each round through the rows."""
    rounds, place = divmod(number, rows)
    # A third key keeps this stream apart from the slices' own, which have two.
    return int(np.random.default_rng([seed, rounds, rows]).permutation(rows)[place])


def synthetic_slices(
    table: pd.DataFrame,
    plan: Sequence[PlannedSlice],
    images: np.ndarray,
    atlas: np.ndarray,
    tissues: np.ndarray,
    classes: Sequence[str],
) -> StudySlices:
    """The planned slices with their synthetic images, in the form a slice store is written from.

    Args:
        table: a slice store's table, with the targets' rows.
        plan: the planned slices, n of them.
        images: ``(n, C, H, W)`` synthetic images in [-1, 1], in the plan's order; outside the brain they are set to -1.
        atlas: ``(n, 3 C, H, W)`` of the targets.
        tissues: ``(n, 3, H, W)`` of the targets.
        classes: lesion classes in the order of their codes.
    """
    maps = np.stack([planned.labels for planned in plan])
    rows = table.set_index("index").loc[[planned.target for planned in plan]].reset_index(drop=True)
    records = [planned.record for planned in plan]
    rows = rows.assign(
        **count_pixels(maps, classes),
        clipped=[int(r["clipped"]) for r in records],
        source="synthetic",
        manipulation=[r["kind"] for r in records],
        donor=[r["donor"]["study"] if r["donor"] else "" for r in records],
        record=[json.dumps(r, sort_keys=True) for r in records],
    )
    inside = maps[:, None] > BACKGROUND
    pictures = np.where(inside, np.clip(images, -1.0, 1.0), IMAGE_BACKGROUND).astype(np.float32)
    return StudySlices(pictures, maps, np.asarray(atlas, np.float32), np.asarray(tissues, np.float32), rows)
