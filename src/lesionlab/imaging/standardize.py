"""Intensity standardization: the same tissue, the same value, from study to study."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from lesionlab.errors import InputError
from lesionlab.imaging.volume import Volume

_SMALLEST_IN_BRAIN = 1e-6  # so that no brain voxel has the background's value


class StandardizeOptions(BaseModel):
    """Which rule, and where its values end."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    rule: Literal["nyul", "zscore_third", "p99_5", "none"] = Field("nyul", description="see `standardize`")
    percentiles: tuple[float, ...] = Field(
        (1.0, 10.0, 20.0, 30.0, 40.0, 50.0, 60.0, 70.0, 80.0, 90.0, 99.0), description="Nyul's landmarks"
    )
    scale: tuple[float, float] = Field(
        (0.05, 0.8), description="where the first and the last landmark go: room for what lies beyond, as lesions do"
    )
    clip: tuple[float, float] | None = Field((0.0, 1.0), description="of Nyul's values in the brain; null: none")


class Landmarks(BaseModel):
    """What Nyul's method learns from the training studies, per sequence. ``model_dump()`` is JSON."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    percentiles: tuple[float, ...]
    values: tuple[float, ...] = Field(description="the standard scale's value at each percentile")
    studies: int = Field(description="how many studies they were learnt from")


@dataclass(frozen=True)
class Standardized:
    """A standardized volume.

    Attributes:
        volume: float32; background exactly 0 (``zscore_third``: exactly -1), see :func:`standardize` for the range.
        qc: ``clipped_fraction`` of the brain's voxels, ``brain_mean``, ``brain_std``.
    """

    volume: Volume
    qc: dict[str, float]


def fit_landmarks(studies: Iterable[tuple[Volume, Volume]], options: StandardizeOptions) -> Landmarks:
    """Learn the standard scale of one sequence (Nyul, Udupa and Zhang 2000, doi:10.1109/42.836373).

    Each volume's percentiles are mapped linearly so that the first and the last fall on ``options.scale``; the
    standard scale is their mean over volumes.

    Args:
        studies: (volume, brain mask) of the training studies, one at a time in memory.
        options: see :class:`StandardizeOptions`.

    A volume that is constant within its mask teaches nothing and is left out: its own standardization reports it.

    Raises:
        InputError: there is no study to learn from.
    """
    low, high = options.scale
    mapped = []
    for volume, mask in studies:
        try:
            marks = _percentiles(volume, mask, options.percentiles)
        except InputError:
            continue
        mapped.append(low + (high - low) * (marks - marks[0]) / (marks[-1] - marks[0]))
    if not mapped:
        raise InputError(
            "there is no study to learn intensity landmarks from",
            given="no training study whose volume varies within its brain mask",
            allowed="at least 1",
            cure="look at the training scans and their brain masks, or change the split",
        )
    values = np.mean(mapped, axis=0)
    return Landmarks(percentiles=options.percentiles, values=tuple(values.tolist()), studies=len(mapped))


def standardize(
    volume: Volume, mask: Volume, options: StandardizeOptions, landmarks: Landmarks | None = None
) -> Standardized:
    """Bring one volume to the common scale.

    ``nyul``: piecewise linear between the landmarks, the outer pieces prolonged, clipped to ``options.clip``; brain in
    [0, 1], background exactly 0. ``zscore_third``: brain to mean 0 and standard deviation 1/3 (PathoGAN), clipped to
    [-1, 1], background -1. ``p99_5``: clipped to [0, 99.5th percentile], scaled to [0, 1] (the pseudo-healthy paper),
    background 0. ``none``: as it is in the brain, background 0.

    Args:
        volume: ``(X, Y, Z)``.
        mask: above 0 in the brain, on the same grid.
        options: see :class:`StandardizeOptions`.
        landmarks: of this sequence, for ``nyul``.

    Raises:
        InputError: the mask is empty or the volume constant within it; ``nyul`` without landmarks.
    """
    inside = mask.data > 0
    values = _brain_values(volume, mask)
    free, limits, background = _rule(values, options, landmarks)
    brain = free if limits is None else np.clip(free, *limits)
    if options.rule in ("nyul", "p99_5") and limits is not None:
        brain = np.maximum(brain, limits[0] + _SMALLEST_IN_BRAIN)
    data = np.full(volume.shape, background, dtype=np.float32)
    data[inside] = brain
    outside = 0.0 if limits is None else float(((free < limits[0]) | (free > limits[1])).mean())
    qc = {"clipped_fraction": outside, "brain_mean": float(brain.mean()), "brain_std": float(brain.std())}
    return Standardized(volume.like(data), qc)


def _rule(
    values: np.ndarray, options: StandardizeOptions, landmarks: Landmarks | None
) -> tuple[np.ndarray, tuple[float, float] | None, float]:
    """The brain's values by the rule, the range they are clipped to, and the background's value."""
    if options.rule == "nyul":
        return _nyul(values, landmarks), options.clip, 0.0
    if options.rule == "zscore_third":
        return (values - values.mean()) / (3 * values.std()), (-1.0, 1.0), -1.0
    if options.rule == "p99_5":
        return values / np.percentile(values, 99.5), (0.0, 1.0), 0.0
    return values, None, 0.0


def _nyul(values: np.ndarray, landmarks: Landmarks | None) -> np.ndarray:
    if landmarks is None:
        raise InputError(
            "Nyul's rule needs landmarks",
            given="none",
            allowed="landmarks learnt on the training studies",
            cure="call `fit_landmarks` first, or choose `standardize.rule: zscore_third`",
        )
    marks, scale = _increasing(np.percentile(values, landmarks.percentiles), np.asarray(landmarks.values))
    mapped = np.interp(values, marks, scale)
    for beyond, end, inner in ((values < marks[0], 0, 1), (values > marks[-1], -1, -2)):
        slope = (scale[end] - scale[inner]) / (marks[end] - marks[inner])
        mapped[beyond] = scale[end] + slope * (values[beyond] - marks[end])
    return mapped


def _increasing(marks: np.ndarray, scale: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Landmarks without ties, which coarsely quantized volumes have."""
    keep = np.concatenate([[True], np.diff(marks) > 1e-9 * (marks[-1] - marks[0])])
    return marks[keep], scale[keep]


def _percentiles(volume: Volume, mask: Volume, percentiles: tuple[float, ...]) -> np.ndarray:
    return np.percentile(_brain_values(volume, mask), percentiles)


def _brain_values(volume: Volume, mask: Volume) -> np.ndarray:
    values = volume.data[mask.data > 0].astype(np.float64)
    spread = 0.0 if values.size == 0 else float(np.diff(np.percentile(values, (1, 99)))[0])
    if spread <= 0:
        raise InputError(
            "the volume is constant within the brain mask",
            given=f"{values.size} brain voxels, 1st to 99th percentile {spread:g} apart",
            allowed="an image",
            cure="look at the scan and its brain mask, or leave the study out",
        )
    return values
