"""Intensity standardization: the same tissue, the same value, from study to study."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from lesionlab.errors import InputError
from lesionlab.imaging.intensity.intensity_map import IntensityMap, affine_map
from lesionlab.imaging.intensity.landmarks import Landmarks, brain_values, to_ends
from lesionlab.imaging.volume import Volume

_SMALLEST_IN_BRAIN = 1e-6  # so that no brain voxel has the background's value
_TIE = 1e-9  # of the range between the outermost landmarks
_TOP_PERCENTILE = 99.5  # of the rule p99_5
_DEVIATIONS = 3.0  # of the rule zscore_third: so many become 1


class StandardizeOptions(BaseModel):
    """Which rule, and where its values end."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    rule: Literal["nyul", "zscore_third", "p99_5", "none"] = Field("nyul", description="see `fit_mapping`")
    percentiles: tuple[float, ...] = Field(
        (1.0, 10.0, 20.0, 30.0, 40.0, 50.0, 60.0, 70.0, 80.0, 90.0, 99.0), description="Nyul's landmarks"
    )
    scale: tuple[float, float] = Field(
        (0.05, 0.8), description="where the first and the last landmark go: room for what lies beyond, as lesions do"
    )
    clip: tuple[float, float] | None = Field((0.0, 1.0), description="of Nyul's values in the brain; null: none")
    landmarks: str | None = Field(
        None, description="a landmarks.json of an earlier run: its scale is kept and nothing is learnt"
    )
    exclude_lesions: bool = Field(
        False, description="leave lesion voxels out of landmarks, means and percentiles where a lesion map is given"
    )


@dataclass(frozen=True)
class Standardized:
    """A standardized volume.

    Attributes:
        volume: float32; background exactly 0 (``zscore_third``: exactly -1), see :func:`fit_mapping` for the range.
        mapping: what was done to the brain's intensities.
        qc: ``clipped_fraction`` of the brain's voxels, ``brain_mean``, ``brain_std``, and for ``nyul``
            ``landmark_distance``, see :func:`landmark_distance`.
    """

    volume: Volume
    mapping: IntensityMap
    qc: dict[str, float]


def fit_landmarks(studies: Iterable[Sequence[Volume | None]], options: StandardizeOptions) -> Landmarks:
    """Learn the standard scale of one sequence (Nyul, Udupa and Zhang 2000, doi:10.1109/42.836373).

    Each volume's percentiles are mapped linearly so that the first and the last fall on ``options.scale``; the
    standard scale is their mean over volumes. A volume that is constant within its mask teaches nothing and is left
    out: its own standardization reports it.

    Args:
        studies: (volume, brain mask) or (volume, brain mask, lesion or None) of the training studies, one at a time in
            memory. Lesions matter where ``options.exclude_lesions``.
        options: see :class:`StandardizeOptions`.

    Raises:
        InputError: there is no study to learn from.
    """
    mapped = []
    for volume, mask, *lesion in studies:
        assert volume is not None and mask is not None
        try:
            values = brain_values(volume, mask, lesion[0] if options.exclude_lesions and lesion else None)
        except InputError:
            continue
        mapped.append(to_ends(np.percentile(values, options.percentiles), options.scale))
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
    volume: Volume,
    mask: Volume,
    options: StandardizeOptions,
    landmarks: Landmarks | None = None,
    lesion: Volume | None = None,
) -> Standardized:
    """Find the mapping of one volume (:func:`fit_mapping`, whose arguments and errors it shares) and apply it."""
    mapping = fit_mapping(volume, mask, options, landmarks, lesion)
    values = volume.data[mask.data > 0]
    brain = mapping.apply(values)
    qc = {
        "clipped_fraction": mapping.clipped_fraction(values),
        "brain_mean": float(brain.mean()),
        "brain_std": float(brain.std()),
    }
    if options.rule == "nyul" and landmarks is not None:
        looked_at = brain_values(volume, mask, lesion if options.exclude_lesions else None)
        qc["landmark_distance"] = landmark_distance(looked_at, landmarks)
    return Standardized(mapping.apply_to(volume, mask), mapping, qc)


def fit_mapping(
    volume: Volume,
    mask: Volume,
    options: StandardizeOptions,
    landmarks: Landmarks | None = None,
    lesion: Volume | None = None,
) -> IntensityMap:
    """How one volume comes to the common scale.

    ``nyul``: piecewise linear between the landmarks, the outer pieces prolonged, clipped to ``options.clip``; brain in
    [0, 1], background exactly 0. ``zscore_third``: brain to mean 0 and standard deviation 1/3 (PathoGAN), clipped to
    [-1, 1], background -1. ``p99_5``: clipped to [0, 99.5th percentile], scaled to [0, 1] (the pseudo-healthy paper),
    background 0. ``none``: as it is in the brain, background 0.

    Args:
        volume: ``(X, Y, Z)``.
        mask: above 0 in the brain, on the same grid.
        options: see :class:`StandardizeOptions`.
        landmarks: of this sequence, for ``nyul``.
        lesion: above 0 in lesions, on the same grid; used where ``options.exclude_lesions``.

    Raises:
        InputError: the mask is empty or the volume constant within it; ``nyul`` without landmarks; ``p99_5`` of a
            volume that is not positive.
    """
    values = brain_values(volume, mask, lesion if options.exclude_lesions else None)
    if options.rule == "nyul":
        return _nyul(values, landmarks, options.clip)
    if options.rule == "zscore_third":
        return affine_map(1 / (_DEVIATIONS * values.std()), float(values.mean()), (-1.0, 1.0), background=-1.0)
    if options.rule == "p99_5":
        return _top_to_one(values)
    return affine_map(1.0, 0.0, None, background=0.0)


def landmark_distance(values: np.ndarray, landmarks: Landmarks) -> float:
    """How oddly a brain's intensities are distributed, on the standard scale.

    The root mean square distance between the standard landmarks and the brain's percentiles, once these are brought
    linearly to the scale's ends. (After Nyul's mapping they agree by definition, whatever the scan.)
    """
    marks = to_ends(np.percentile(values, landmarks.percentiles), (landmarks.values[0], landmarks.values[-1]))
    return float(np.sqrt(np.mean((marks - np.asarray(landmarks.values)) ** 2)))


def _nyul(values: np.ndarray, landmarks: Landmarks | None, clip: tuple[float, float] | None) -> IntensityMap:
    if landmarks is None:
        raise InputError(
            "Nyul's rule needs landmarks of every sequence",
            given="none of this one",
            allowed="landmarks learnt on the training studies",
            cure="learn them (`fit_landmarks`, or `standardize.landmarks` left empty), or choose "
            "`standardize.rule: zscore_third`",
        )
    marks, scale = np.percentile(values, landmarks.percentiles), np.asarray(landmarks.values)
    # Coarsely quantized volumes have ties.
    keep = np.concatenate([[True], np.diff(marks) > _TIE * (marks[-1] - marks[0])])
    floor = None if clip is None else clip[0] + _SMALLEST_IN_BRAIN
    return IntensityMap(
        knots=tuple(marks[keep].tolist()), values=tuple(scale[keep].tolist()), limits=clip, floor=floor, background=0.0
    )


def _top_to_one(values: np.ndarray) -> IntensityMap:
    top = float(np.percentile(values, _TOP_PERCENTILE))
    if top <= 0:
        raise InputError(
            "the brain is not positive",
            given=f"99.5th percentile {top:g}",
            allowed="magnitudes as a scanner gives them",
            cure="choose another `standardize.rule`",
        )
    return affine_map(1 / top, 0.0, (0.0, 1.0), background=0.0, floor=_SMALLEST_IN_BRAIN)
