"""One pass over a cohort's files before hours are spent on it: what cannot be used is quarantined, with the reason."""

from __future__ import annotations

import logging
import traceback
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from pydantic import BaseModel, ConfigDict, Field

from lesionlab.cohort.facts import BRAIN_MASK, LESION_MASK, check_scan, mask_facts, scans_table, spacing_of
from lesionlab.cohort.layout import Layout, LesionLayout, check_classes
from lesionlab.cohort.lesions import check_codes, class_volumes, count_codes
from lesionlab.cohort.table import Cohort, CohortSchema, discover, fault_row, none_usable, quarantine_table
from lesionlab.errors import InputError
from lesionlab.imaging.formats import ScanHeader
from lesionlab.imaging.volume import same_places
from lesionlab.names import listed
from lesionlab.stages.engine import Engine
from lesionlab.stages.workers import run_parallel

_log = logging.getLogger(__name__)


class CheckOptions(BaseModel):
    """What a cohort has to fulfil, beyond files that can be read."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    require_lesions: bool = Field(True, description="whether a cohort whose masks are all empty is an error")
    workers: int = Field(1, ge=1, description="processes that read files")
    min_slices: int = Field(3, ge=1, description="voxels that a scan has at least along each axis")
    max_scan_mb: float | None = Field(None, gt=0, description="a scan larger than this as float32 is not read")


class CheckedCohort(NamedTuple):
    """What the check found."""

    table: pd.DataFrame  # CohortSchema with lesion_ml
    quarantine: pd.DataFrame  # QuarantineSchema
    lesions: pd.DataFrame  # study, lesion_class, ml: one row per labelled study and class
    scans: pd.DataFrame  # ScanSchema: one row per file that could be read, quarantined studies included
    presence: pd.DataFrame  # study, subject, visit, and per sequence and mask whether the study has it


class _Task(NamedTuple):
    rows: pd.DataFrame
    lesion: LesionLayout | None
    classes: tuple[str, ...]
    options: CheckOptions


@dataclass
class _Finding:
    faults: list[InputError]
    facts: list[dict[str, Any]]
    volumes: dict[str, float] | None = None

    def add(self, first: pd.Series, sequence: str, path: str, facts: dict[str, Any]) -> None:
        names = {"study": first.study, "subject": first.subject, "visit": first.visit}
        self.facts.append({**names, "sequence": sequence, "file": path, **facts})

    @contextmanager
    def keeping_faults(self, subject: str) -> Iterator[None]:
        """One fault of a study hides no other, and whatever is raised on its files costs no other study."""
        try:
            yield
        except InputError as error:
            self.faults.append(error)
        except Exception as error:  # libraries raise anything on a damaged file
            self.faults.append(_unforeseen(error, subject))


def read_cohort(
    root: Path | str,
    layout: Layout,
    sequences: Sequence[str],
    lesion_classes: Sequence[str],
    options: CheckOptions | None = None,
    may_lack: Collection[str] = (),
) -> CheckedCohort:
    """Discover a cohort and check its files: :func:`discover`, then :func:`check_cohort`."""
    if layout.lesion is not None:
        check_classes(layout.lesion, lesion_classes)
    return check_cohort(discover(root, layout, sequences, may_lack), layout, lesion_classes, options)


def check_cohort(
    cohort: Cohort, layout: Layout, lesion_classes: Sequence[str], options: CheckOptions | None = None
) -> CheckedCohort:
    """Read every file of a cohort once and quarantine the studies that cannot be used.

    Looked for: unreadable, truncated or damaged files (to the checksum at the end), other than three dimensions, too
    few slices, too large, no voxel size, NaN, constant scans, a lesion mask on another grid than its sequence's,
    unknown or fractional label codes, a brain mask on none of the study's grids or empty.

    Returns:
        The good studies with their lesion volume in ml, the quarantine table (what was quarantined before included),
        the lesion volumes by class, and what every file is.

    Raises:
        InputError: a code's class is not configured, no study is left, or (``require_lesions``) no mask holds a lesion.
    """
    options = options or CheckOptions()
    if layout.lesion is not None:
        check_classes(layout.lesion, lesion_classes)
    studies = {str(study): rows for study, rows in cohort.table.groupby("study", sort=False)}
    _log.info("cohort: reading the files of %d studies", len(studies))
    tasks = {study: _Task(rows, layout.lesion, tuple(lesion_classes), options) for study, rows in studies.items()}
    found = dict(run_parallel(_check_study, tasks, Engine(options.workers)))
    faults = [fault_row(study, error) for study in studies for error in found[study].faults]
    quarantine = pd.concat([cohort.quarantine, quarantine_table(faults)], ignore_index=True)
    good = cohort.table[~cohort.table["study"].isin(quarantine["study"])].reset_index(drop=True)
    if good.empty:
        raise none_usable(quarantine)
    for study, reason in zip(quarantine["study"], quarantine["reason"], strict=True):
        _log.warning("cohort: %s is quarantined: %s", study, reason)
    lesions = _lesion_table({study: found[study].volumes for study in good["study"].unique()})
    if options.require_lesions and not lesions["ml"].sum() > 0:
        raise _no_lesion(good, layout.lesion)
    total = lesions.groupby("study")["ml"].sum()
    table = CohortSchema.validate(good.assign(lesion_ml=good["study"].map(total).astype(float)))
    scans = scans_table([row for study in studies for row in found[study].facts])
    return CheckedCohort(table, quarantine, lesions, scans, cohort.presence)


def _check_study(task: _Task) -> _Finding:
    """Every fault of one study, what its files are, and its lesion volumes in ml where its mask can be read."""
    first = task.rows.iloc[0]
    finding, grids = _Finding([], []), {}
    for sequence, path in zip(task.rows["sequence"], task.rows["path"], strict=True):
        with finding.keeping_faults(first.subject):
            header, facts = check_scan(path, first.subject, task.options.min_slices, task.options.max_scan_mb)
            finding.add(first, sequence, path, facts)
            grids[sequence] = header
    with finding.keeping_faults(first.subject):
        if first.lesion_path and task.lesion is not None:
            finding.volumes = _check_lesion(first, task, grids, finding)
    with finding.keeping_faults(first.subject):
        if first.brain_path:
            _check_brain(first, task, grids, finding)
    return finding


def _check_lesion(
    first: pd.Series, task: _Task, grids: dict[str, ScanHeader], finding: _Finding
) -> dict[str, float] | None:
    assert task.lesion is not None
    counts = count_codes(first.lesion_path, first.subject, task.options.max_scan_mb)
    finding.add(first, LESION_MASK, first.lesion_path, mask_facts(counts))
    scan = {first.lesion_on: grids[first.lesion_on]} if first.lesion_on in grids else {}
    if scan:  # a scan that could not be read is a fault of its own
        cure = "resample the mask to that sequence (nearest neighbour), or correct the layout's `lesion.drawn_on`"
        _check_grid("lesion mask", counts.header, first.lesion_path, first.subject, scan, cure)
    known = check_codes(counts.voxels, task.lesion.codes, task.lesion.ignore, first.lesion_path, first.subject)
    return class_volumes(counts, known, task.classes)


def _check_brain(first: pd.Series, task: _Task, grids: dict[str, ScanHeader], finding: _Finding) -> None:
    counts = count_codes(first.brain_path, first.subject, task.options.max_scan_mb)
    finding.add(first, BRAIN_MASK, first.brain_path, mask_facts(counts))
    if grids:
        cure = "resample the mask to one of the sequences, or take `brain_mask` out of the layout"
        _check_grid("brain mask", counts.header, first.brain_path, first.subject, grids, cure)
    if set(counts.voxels) == {0}:
        raise InputError(
            "the brain mask is empty",
            given="every voxel is 0",
            allowed="a mask that is not 0 inside the brain",
            cure="replace the mask, or take `brain_mask` out of the layout",
            subject=first.subject,
            file=first.brain_path,
        )


def _check_grid(
    what: str, header: ScanHeader, path: str, subject: str, grids: dict[str, ScanHeader], cure: str
) -> None:
    """Raise where a mask shares the grid of none of the scans."""
    for scan in grids.values():
        if same_places(header.shape, header.affine, scan.shape, scan.affine):
            return
    raise InputError(
        f"the {what} lies on another grid",
        given=_grid_text(header),
        allowed=" or ".join(f"{_grid_text(scan)} ({name})" for name, scan in grids.items()),
        cure=cure,
        subject=subject,
        file=path,
    )


def _grid_text(header: ScanHeader) -> str:
    spacing = " x ".join(f"{size:.3g}" for size in spacing_of(header.affine))
    corner = np.round(header.affine[:3, 3], 2).tolist()
    return f"shape {header.shape}, voxels of {spacing} mm, first voxel at {corner} mm"


def _unforeseen(error: Exception, subject: str) -> InputError:
    """The fault that an error stands for; its message is left out, for it may repeat a file, and so name a person."""
    last = traceback.extract_tb(error.__traceback__)[-1]
    large = isinstance(error, MemoryError)
    return InputError(
        "a file of the study needs more memory than there is" if large else "a file of the study cannot be read",
        given=f"{type(error).__name__} (at {Path(last.filename).name}, line {last.lineno})",
        allowed="files that fit into memory, beside those that other workers read" if large else "whole files",
        cure="lower `cohort.max_scan_mb` or the number of workers" if large else "copy the study's files again",
        subject=subject,
    )


def _lesion_table(volumes: dict[str, dict[str, float] | None]) -> pd.DataFrame:
    rows = [(study, name, ml) for study, found in volumes.items() for name, ml in (found or {}).items()]
    return pd.DataFrame(rows, columns=["study", "lesion_class", "ml"]).astype({"ml": float})


def _no_lesion(table: pd.DataFrame, lesion: LesionLayout | None) -> InputError:
    if lesion is None:
        return InputError(
            "the layout names no lesion masks",
            given="no entry `lesion`",
            allowed="a `lesion` entry with file, drawn_on and codes",
            cure="add it, or (healthy or unlabelled subjects, preprocessing alone) set `cohort.require_lesions: false`",
        )
    masks = table.loc[table["lesion_path"] != "", "lesion_path"].unique()
    return InputError(
        "there is no lesion anywhere in the cohort",
        given=f"{table['study'].nunique()} studies, {len(masks)} lesion masks, all empty: {listed(masks, limit=3)}",
        allowed=f"at least one voxel with one of the codes {listed(sorted(lesion.codes))}",
        cure="correct the layout's `lesion.file` or `lesion.codes`, or (healthy subjects) set "
        "`cohort.require_lesions: false`",
        file=masks[0] if len(masks) else None,
    )
