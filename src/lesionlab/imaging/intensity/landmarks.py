"""Intensity landmarks: what Nyul's method learns, and the file that keeps it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from lesionlab.errors import InputError
from lesionlab.imaging.volume import Volume

_SPREAD_PERCENTILES = (1.0, 99.0)  # a brain whose intensities agree between these is constant


class Landmarks(BaseModel):
    """What Nyul's method learns from the training studies, per sequence. ``model_dump()`` is JSON."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    percentiles: tuple[float, ...]
    values: tuple[float, ...] = Field(description="the standard scale's value at each percentile")
    studies: int = Field(description="how many studies they were learnt from")


class LandmarkSet(BaseModel):
    """The landmarks of a cohort, as they lie in a file."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    format: Literal["lesionlab intensity landmarks"] = "lesionlab intensity landmarks"
    version: Literal[1] = 1
    studies: tuple[str, ...] = Field(description="names of the studies they were learnt from")
    exclude_lesions: bool = Field(description="whether lesion voxels were left out of the percentiles")
    sequences: dict[str, Landmarks]


def to_ends(marks: np.ndarray, ends: tuple[float, float]) -> np.ndarray:
    """Ascending values, mapped linearly so that the first and the last fall on ``ends``."""
    return ends[0] + (ends[1] - ends[0]) * (marks - marks[0]) / (marks[-1] - marks[0])


def brain_values(volume: Volume, mask: Volume, lesion: Volume | None = None) -> np.ndarray:
    """The brain's intensities ``(N,)`` float64, without those of a lesion where one is given.

    Where a volume is exactly 0 its scan saw nothing: those voxels are no intensities. A lesion that fills the brain is
    not left out.

    Raises:
        InputError: the mask is empty or the volume constant within it.
    """
    inside = (mask.data > 0) & (volume.data != 0)
    normal = inside if lesion is None else inside & (lesion.data == 0)
    values = volume.data[normal if normal.any() else inside].astype(np.float64)
    spread = 0.0 if values.size == 0 else float(np.ptp(np.percentile(values, _SPREAD_PERCENTILES)))
    if not spread > 0:
        raise InputError(
            "the volume is constant within the brain mask",
            given=f"{values.size} brain voxels, 1st to 99th percentile {spread:g} apart",
            allowed="an image",
            cure="look at the scan and its brain mask, or leave the study out",
        )
    return values


def landmarks_file(landmarks: LandmarkSet) -> bytes:
    """Landmarks as a JSON file's content; equal landmarks give equal bytes."""
    return (json.dumps(landmarks.model_dump(mode="json"), indent=2, sort_keys=True) + "\n").encode()


def read_landmarks(path: Path, exclude_lesions: bool | None = None) -> Mapping[str, Landmarks]:
    """The landmarks of an earlier run, by sequence.

    Args:
        path: a file of :func:`landmarks_file`.
        exclude_lesions: how lesions are treated now; null: whatever the file says.

    Raises:
        InputError: there is no such file, it is none of ours, or it was learnt with lesions treated otherwise.
    """
    kept = read_landmark_set(path)
    if exclude_lesions is not None and kept.exclude_lesions != exclude_lesions:
        raise InputError(
            "the intensity landmarks were learnt with lesions treated otherwise",
            given=f"`standardize.exclude_lesions` is {exclude_lesions}",
            allowed=f"{kept.exclude_lesions}, as in {path}",
            cure="set it as it was when they were learnt, or learn landmarks anew",
            file=path,
        )
    return kept.sequences


def read_landmark_set(path: Path) -> LandmarkSet:
    """A file of :func:`landmarks_file`; raises ``InputError`` where there is none, or it is none of ours."""
    try:
        return LandmarkSet.model_validate_json(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, ValidationError) as error:
        raise InputError(
            "the intensity landmarks cannot be read",
            given=f"{path}: {_first_line(error)}",
            allowed="landmarks.json of an earlier run, version 1",
            cure="correct `standardize.landmarks`, or leave it empty to learn landmarks anew",
            file=path,
        ) from error


def _first_line(error: Exception) -> str:
    if isinstance(error, ValidationError):
        first = error.errors()[0]
        return f"{'.'.join(map(str, first['loc'])) or 'file'}: {first['msg']}"
    return str(error).splitlines()[0]
