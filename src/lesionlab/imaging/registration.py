"""Rigid registration of a study's sequences to its reference sequence, by mutual information (ANTs)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, Self

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, PositiveInt, model_validator
from scipy import ndimage

from lesionlab.errors import InputError
from lesionlab.imaging.ants_bridge import matrix_from_ants, scratch, to_ants, write_matrix
from lesionlab.imaging.ants_command import Metric, Search, Stage
from lesionlab.imaging.resample import resample_like
from lesionlab.imaging.similarity import mutual_information
from lesionlab.imaging.volume import Volume, same_grid

_AIR = 0.15  # of the brightest tissue: below is air
_THIN = 0.05  # keeps a division by a local mean that is made of air in bounds
_TOP_PERCENTILE = 99.5  # vessels and fat above it would take most of the histogram's bins
_HISTOGRAM_PERCENTILES = (1.0, 98.0)  # of the head: what lies beyond shares the outermost bins
_CONVERGENCE_WINDOW = 5  # iterations


class CoregisterOptions(BaseModel):
    """How the sequences of a study are brought onto one grid."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    enabled: bool = Field(True, description="off: the sequences have to share a grid already")
    kind: Literal["rigid", "affine"] = Field("rigid", description="rigid within a visit; affine for distorted scans")
    interpolation: Literal["linear", "cubic"] = Field("cubic", description="of the images; cubic blurs less")
    label_interpolation: Literal["labels", "nearest"] = Field("labels", description="of the lesion and the brain mask")
    sampling: float = Field(0.25, gt=0, le=1, description="share of the voxels the metric looks at")
    max_samples: PositiveInt = Field(60_000, description="voxels of the head it looks at in fine scans, at most")
    bins: PositiveInt = Field(64, description="of the joint histogram of mutual information")
    iterations: tuple[int, ...] = Field((200, 100, 50), description="at most, per level from coarse to fine")
    shrink: tuple[int, ...] = Field((4, 2, 1), description="subsampling per level")
    smoothing_mm: tuple[float, ...] = Field((4.0, 2.0, 1.0), description="Gaussian sigma per level, mm")
    threshold: float = Field(1e-5, gt=0, description="slope of the metric at which a level ends")
    flatten_mm: float = Field(6.0, ge=0, description="sigma of the local mean both scans are divided by; 0: neither")

    @model_validator(mode="after")
    def _levels(self) -> Self:
        lengths = {name: len(getattr(self, name)) for name in ("iterations", "shrink", "smoothing_mm")}
        if len(set(lengths.values())) > 1:
            told = ", ".join(f"{name} has {length}" for name, length in lengths.items())
            raise ValueError(f"each level takes one value of each of the three: {told}")
        return self


@dataclass(frozen=True)
class Coregistered:
    """A study on the grid of its reference sequence.

    Attributes:
        volumes: every sequence, float32, on the reference's grid.
        lesion: the lesion labels there, or None.
        brain: the brain mask there, or None.
        transforms: per sequence ``(4, 4)`` float64, RAS mm of the reference scan -> RAS mm of the sequence's scan.
        qc: per sequence ``<sequence>_mi_before``, ``_mi_after`` (nats, within the reference's head), ``_rotation_deg``,
            ``_translation_mm`` (at the centre of the reference's field of view).
    """

    volumes: dict[str, Volume]
    lesion: Volume | None
    brain: Volume | None
    transforms: dict[str, np.ndarray]
    qc: dict[str, float]


def coregister(
    volumes: Mapping[str, Volume],
    reference: str,
    lesion: Volume | None,
    lesion_on: str | None,
    options: CoregisterOptions,
    brain: Volume | None = None,
) -> Coregistered:
    """Register every sequence to the reference sequence and resample it there.

    Args:
        volumes: the scans, each on its own grid.
        reference: the sequence that stays as it is.
        lesion: integer labels on the grid of ``lesion_on``; they follow that sequence's transform.
        lesion_on: the sequence the lesion was drawn on; None means the reference.
        options: see :class:`CoregisterOptions`.
        brain: a given brain mask on the grid of a sequence, whose transform it follows: of the reference if it has
            that grid, else of ``lesion_on``, else of the first sequence that has it.

    Raises:
        InputError: the reference or ``lesion_on`` is no sequence of the study; the lesion or brain mask lies on
            another grid than its sequence; registration is off and the grids differ.
    """
    drawn_on = lesion_on or reference
    for name in (reference, drawn_on):
        _check_known(name, volumes)
    _check_on(lesion, volumes[drawn_on], drawn_on)
    brain_on = _sequence_of(brain, volumes, (reference, drawn_on))
    fixed, moved, transforms = volumes[reference], {}, {}
    qc: dict[str, float] = {}
    for name, volume in volumes.items():
        if name == reference or not options.enabled:
            _check_grid(name, volume, reference, fixed)
            matrix, moved[name] = np.eye(4), volume
        else:
            matrix = register(fixed, volume, options)
            fill = float(volume.data.min())
            moved[name] = resample_like(volume, fixed, matrix=matrix, interpolation=options.interpolation, fill=fill)
            qc |= {f"{name}_{measure}": value for measure, value in _quality(fixed, volume, matrix, options).items()}
        transforms[name] = matrix

    def follow(mask: Volume | None, sequence: str) -> Volume | None:
        if mask is None or sequence == reference:
            return mask
        return resample_like(mask, fixed, matrix=transforms[sequence], interpolation=options.label_interpolation)

    return Coregistered(moved, follow(lesion, drawn_on), follow(brain, brain_on), transforms, qc)


def register(fixed: Volume, moving: Volume, options: CoregisterOptions) -> np.ndarray:
    """Find where each point of ``fixed`` lies in ``moving``: ``(4, 4)`` float64, RAS mm -> RAS mm.

    The search starts at the best of three: the scanner's coordinates as the headers give them, the centres of the two
    fields of view one upon another, and the centres of mass one upon another. So neither a header without scanner
    coordinates nor a field of view that reaches into the neck leads it astray.
    """
    with scratch() as folder:
        start = write_matrix(_translation(_best_start(fixed, moving)), folder / "start.mat")
        pair = [to_ants(flattened(volume, options.flatten_mm)) for volume in (fixed, moving)]
        head = head_mask(fixed)
        sampling = min(options.sampling, options.max_samples / max(int(head.data.sum()), 1))
        stage = Stage(
            "Rigid[0.1]" if options.kind == "rigid" else "Affine[0.1]",
            [Metric("Mattes", pair[0], pair[1], parameter=options.bins, sampling=sampling)],
            options.iterations,
            options.shrink,
            options.smoothing_mm,
            threshold=options.threshold,
            window=_CONVERGENCE_WINDOW,
        )
        found = Search([stage], [start], mask=to_ants(head)).run(folder)
        assert found.linear is not None
        return matrix_from_ants(found.linear)


def flattened(volume: Volume, sigma_mm: float) -> Volume:
    """The volume over its local mean: two scans' bias fields differ, and pull a registration apart by 0.2 mm."""
    data = np.clip(volume.data - volume.data.min(), 0, None).astype(np.float32)
    data = np.minimum(data, np.percentile(data, _TOP_PERCENTILE))
    if sigma_mm == 0:
        return volume.like(data)
    sigma = [sigma_mm / size for size in volume.spacing]
    head = head_mask(volume).data.astype(np.float32)
    weight = ndimage.gaussian_filter(head, sigma)
    mean = ndimage.gaussian_filter(data * head, sigma) / np.maximum(weight, _THIN)
    flat = data / np.maximum(mean, _AIR * mean.max())
    low, high = np.percentile(flat[head > 0], _HISTOGRAM_PERCENTILES)
    return volume.like(head * np.clip(flat, low, high))


def head_mask(volume: Volume) -> Volume:
    """Where the head is, with a rim of air: uint8. Air far from it tells a registration nothing."""
    data = ndimage.gaussian_filter(volume.data - volume.data.min(), 1.0)
    head = data > _AIR * np.percentile(data, _TOP_PERCENTILE)
    head = ndimage.binary_fill_holes(ndimage.binary_closing(head, iterations=2))
    return volume.like(ndimage.binary_dilation(head, iterations=2).astype(np.uint8))


def _best_start(fixed: Volume, moving: Volume) -> np.ndarray:
    """The translation ``(3,)`` in RAS mm with the highest mutual information on a coarse grid."""
    between_centers = _center(moving) - _center(fixed)
    between_masses = _center_of_mass(moving) - _center_of_mass(fixed)
    coarse = _coarse(fixed)
    scores = []
    for shift in (np.zeros(3), between_centers, between_masses):
        seen = resample_like(moving, coarse, matrix=_translation(shift), fill=float(moving.data.min()))
        scores.append((mutual_information(coarse.data, seen.data), shift))
    return max(scores, key=lambda scored: scored[0])[1]


def _coarse(volume: Volume, spacing_mm: float = 6.0) -> Volume:
    step = [max(1, round(spacing_mm / size)) for size in volume.spacing]
    return Volume(volume.data[:: step[0], :: step[1], :: step[2]], volume.affine @ np.diag([*step, 1.0]))


def _translation(shift: np.ndarray) -> np.ndarray:
    matrix = np.eye(4)
    matrix[:3, 3] = shift
    return matrix


def _center(volume: Volume) -> np.ndarray:
    middle = (np.array(volume.shape) - 1) / 2
    return (volume.affine @ [*middle, 1.0])[:3]


def _center_of_mass(volume: Volume) -> np.ndarray:
    weight = np.clip(volume.data - volume.data.min(), 0, None).astype(np.float64)
    marginals = [weight.sum(axis=axes) for axes in ((1, 2), (0, 2), (0, 1))]
    middle = [float((np.arange(line.size) * line).sum() / line.sum()) for line in marginals]
    return (volume.affine @ [*middle, 1.0])[:3]


def _quality(fixed: Volume, moving: Volume, matrix: np.ndarray, options: CoregisterOptions) -> dict[str, float]:
    one, other = (
        _smooth(flattened(volume, options.flatten_mm), options.smoothing_mm[-1]) for volume in (fixed, moving)
    )
    head = head_mask(fixed).data
    seen = [resample_like(other, one, matrix=m, antialias=False).data for m in (np.eye(4), matrix)]
    before, after = (mutual_information(one.data, image, options.bins, head) for image in seen)
    return {
        "mi_before": before,
        "mi_after": after,
        "rotation_deg": rotation_degrees(matrix),
        "translation_mm": float(np.linalg.norm((matrix @ [*_center(fixed), 1.0])[:3] - _center(fixed))),
    }


def _smooth(volume: Volume, sigma_mm: float) -> Volume:
    """As the metric sees it at the last level: without, a shift by half a voxel alone lowers mutual information."""
    return volume.like(ndimage.gaussian_filter(volume.data, [sigma_mm / size for size in volume.spacing]))


def rotation_degrees(matrix: np.ndarray) -> float:
    """Angle of the rotation in a linear transform, 0 to 180 degrees (of its nearest rotation, where it is affine)."""
    left, _, right = np.linalg.svd(matrix[:3, :3])
    cosine = (np.trace(left @ right) - 1) / 2
    return float(np.degrees(np.arccos(np.clip(cosine, -1.0, 1.0))))


def _check_known(name: str, volumes: Mapping[str, Volume]) -> None:
    if name not in volumes:
        raise InputError(
            "the study lacks a sequence that registration needs",
            given=name,
            allowed=", ".join(volumes),
            cure="correct `reference`, or the layout's `lesion.drawn_on`",
        )


def _check_on(lesion: Volume | None, volume: Volume, sequence: str) -> None:
    if lesion is not None and not same_grid(lesion, volume):
        raise InputError(
            "the lesion mask lies on another grid than its sequence",
            given=_describe(lesion),
            allowed=f"{_describe(volume)}, as {sequence} has",
            cure=f"draw or resample the mask on {sequence}, or name the sequence it was drawn on in the layout",
        )


def _sequence_of(brain: Volume | None, volumes: Mapping[str, Volume], preferred: Sequence[str]) -> str:
    """The sequence whose grid the brain mask shares."""
    if brain is None:
        return preferred[0]
    for name in (*preferred, *volumes):
        if same_grid(brain, volumes[name]):
            return name
    raise InputError(
        "the brain mask lies on the grid of no sequence",
        given=_describe(brain),
        allowed=" or ".join(f"{_describe(volume)} ({name})" for name, volume in volumes.items()),
        cure="draw or resample the mask on one of the sequences",
    )


def _check_grid(name: str, volume: Volume, reference: str, fixed: Volume) -> None:
    if not same_grid(volume, fixed):
        raise InputError(
            f"registration is off, but {name} lies on another grid than {reference}",
            given=_describe(volume),
            allowed=_describe(fixed),
            cure="switch `coregister.enabled` on, or give registered scans",
        )


def _describe(volume: Volume) -> str:
    spacing = " x ".join(f"{size:.3g}" for size in volume.spacing)
    origin = ", ".join(f"{value:.4g}" for value in volume.affine[:3, 3])
    return f"shape {volume.shape}, voxels {spacing} mm, origin ({origin})"
