"""Registration of a study's sequences to its reference sequence, rigid or affine, by mutual information (ANTs)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal, Self

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, PositiveInt, model_validator

from lesionlab.errors import InputError
from lesionlab.imaging.ants_bridge import matrix_from_ants, scratch, to_ants, write_matrix
from lesionlab.imaging.ants_command import Metric, Search, Stage
from lesionlab.imaging.background import background_of
from lesionlab.imaging.registration.alignment import CheckOptions, Prepared, failure, measure
from lesionlab.imaging.registration.head import center, flattened, head_mask, inner, no_finer
from lesionlab.imaging.registration.initialise import SearchOptions, best_of_three, searched
from lesionlab.imaging.resample import resample_like
from lesionlab.imaging.study import check_grid, check_known, check_on, pick_reference, sequence_of
from lesionlab.imaging.transforms import rotation_degrees
from lesionlab.imaging.volume import Volume

__all__ = [
    "CoregisterOptions",
    "Coregistered",
    "Ready",
    "Registered",
    "align",
    "coregister",
    "pick_reference",
    "ready",
    "register",
    "rotation_degrees",
]

_CONVERGENCE_WINDOW = 5  # iterations
_GRADIENT_STEP = 0.1


class CoregisterOptions(BaseModel):
    """How the sequences of a study are brought onto one grid."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    enabled: bool = Field(True, description="off: the sequences have to share a grid already")
    kind: Literal["rigid", "affine"] = Field("rigid", description="rigid within a visit; affine for distorted scans")
    reference_fallback: tuple[str, ...] = Field(
        (), description="sequences that take the reference's place in a study without it, the first one there"
    )
    interpolation: Literal["linear", "cubic"] = Field("cubic", description="of the images; cubic blurs less")
    label_interpolation: Literal["labels", "nearest"] = Field("labels", description="of the lesion and the brain mask")
    sampling: float = Field(0.25, gt=0, le=1, description="share of the voxels the metric looks at")
    max_samples: PositiveInt = Field(30_000, description="voxels of the head it looks at in fine scans, at most")
    finest_mm: float = Field(1.5, ge=0, description="voxels finer than this are merged before the search; 0: none")
    bins: PositiveInt = Field(32, description="of the joint histogram of mutual information")
    iterations: tuple[int, ...] = Field((200, 100, 50), description="at most, per level from coarse to fine")
    shrink: tuple[int, ...] = Field((4, 2, 1), description="subsampling per level")
    smoothing_mm: tuple[float, ...] = Field((4.0, 2.0, 1.0), description="Gaussian sigma per level, mm")
    threshold: float = Field(1e-5, gt=0, description="slope of the metric at which a level ends")
    flatten_mm: float = Field(6.0, ge=0, description="sigma of the local mean both scans are divided by; 0: neither")
    inner_mm: float = Field(
        0.0, ge=0, description="in the end look only deeper than this below the head's surface; 0: at all of it"
    )
    check: CheckOptions = Field(CheckOptions(), description="from where on a registration counts as failed")
    search: SearchOptions | None = Field(
        SearchOptions(), description="of all turns and translations, where the first start failed; null: none"
    )

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
        qc: per sequence ``<sequence>_<measure>``, see :class:`Registered`.
    """

    volumes: dict[str, Volume]
    lesion: Volume | None
    brain: Volume | None
    transforms: dict[str, np.ndarray]
    qc: dict[str, float]


@dataclass(frozen=True)
class Registered:
    """One sequence's transform and how good it is.

    Attributes:
        matrix: ``(4, 4)`` float64, RAS mm of the fixed scan -> RAS mm of the moving scan.
        qc: the measures of :func:`lesionlab.imaging.registration.alignment.measure`; ``rotation_deg``;
            ``translation_mm`` (at the centre of the fixed scan's field of view); ``searched``: 1 where the start had to
            be searched for, else 0.
    """

    matrix: np.ndarray
    qc: dict[str, float]


@dataclass(frozen=True)
class Ready:
    """A scan as the search sees it: no voxels finer than needed, flattened, with its head."""

    scan: Volume
    flat: Volume
    head: Volume
    prepared: Prepared


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
        lesion_on: the sequence the lesion was drawn on; None means the one whose grid it has, the reference first.
        options: see :class:`CoregisterOptions`.
        brain: a given brain mask on the grid of a sequence, whose transform it follows: of the reference if it has
            that grid, else of ``lesion_on``, else of the first sequence that has it.

    Raises:
        InputError: the reference or ``lesion_on`` is no sequence of the study; the lesion or brain mask lies on
            another grid than its sequence; registration is off and the grids differ; a registration failed.
    """
    for name in (reference, lesion_on or reference):
        check_known(name, volumes)
    drawn_on = lesion_on or sequence_of("lesion", lesion, volumes, (reference,))
    check_on(lesion, volumes[drawn_on], drawn_on)
    brain_on = sequence_of("brain", brain, volumes, (reference, drawn_on))
    fixed = volumes[reference]
    found = _register_all(volumes, reference, options)

    def follow(mask: Volume | None, sequence: str) -> Volume | None:
        if mask is None or sequence == reference:
            return mask
        matrix = found[sequence].matrix
        return resample_like(mask, fixed, matrix=matrix, interpolation=options.label_interpolation)

    def moved(name: str) -> Volume:
        if name == reference or not options.enabled:
            return volumes[name]
        return _moved(volumes[name], fixed, found[name].matrix, options)

    return Coregistered(
        {name: moved(name) for name in volumes},
        follow(lesion, drawn_on),
        follow(brain, brain_on),
        {name: each.matrix for name, each in found.items()},
        {f"{name}_{key}": value for name, each in found.items() for key, value in each.qc.items()},
    )


def _moved(volume: Volume, fixed: Volume, matrix: np.ndarray, options: CoregisterOptions) -> Volume:
    """The volume on the reference's grid; where the scan saw nothing its background, or 0.

    A spline rings around a brain that was cut out: what no voxel but background touches stays background.
    """
    background = background_of(volume)
    fill = min(float(volume.data.min()), 0.0) if background is None else background
    image = resample_like(volume, fixed, matrix=matrix, interpolation=options.interpolation, fill=fill)
    if background is None:
        return image
    something = volume.like((volume.data != background).astype(np.float32))
    touched = resample_like(something, fixed, matrix=matrix, antialias=False).data > 0
    return image.like(np.where(touched, image.data, np.float32(background)))


def _register_all(volumes: Mapping[str, Volume], reference: str, options: CoregisterOptions) -> dict[str, Registered]:
    if not options.enabled:
        for name, volume in volumes.items():
            check_grid(name, volume, reference, volumes[reference])
        return {name: Registered(np.eye(4), {}) for name in volumes}
    fixed = ready(volumes[reference], options) if len(volumes) > 1 else None
    found = {}
    for name, volume in volumes.items():
        if name == reference or fixed is None:
            found[name] = Registered(np.eye(4), {})
            continue
        found[name] = align(fixed, ready(volume, options), options)
        _check_success(name, reference, found[name], options)
    return found


def register(fixed: Volume, moving: Volume, options: CoregisterOptions) -> np.ndarray:
    """Where each point of ``fixed`` lies in ``moving``: ``(4, 4)`` float64, RAS mm -> RAS mm; see :func:`align`."""
    return align(ready(fixed, options), ready(moving, options), options).matrix


def align(fixed: Ready, moving: Ready, options: CoregisterOptions) -> Registered:
    """Register two scans, from the best of three starts; where the check says that this failed, from a searched one.

    The better of the two is returned, good or not: :func:`lesionlab.imaging.registration.alignment.failure` says which.
    """
    first = _judged(fixed, moving, _from_start(fixed, moving, best_of_three(fixed.scan, moving.scan), options), 0)
    if options.search is None or failure(first.qc, options.check) is None:
        return first
    start = searched(fixed.scan, moving.scan, options.search)
    second = _judged(fixed, moving, _from_start(fixed, moving, start, options), 1)
    return max(first, second, key=lambda each: (failure(each.qc, options.check) is None, each.qc["edge_agreement"]))


def ready(volume: Volume, options: CoregisterOptions) -> Ready:
    """What a registration needs of a scan, computed once for all its pairs."""
    scan = no_finer(volume, options.finest_mm)
    head = head_mask(scan)
    flat = flattened(scan, options.flatten_mm, head)
    return Ready(scan, flat, head, Prepared.of(flat, head))


def _from_start(fixed: Ready, moving: Ready, start: np.ndarray, options: CoregisterOptions) -> np.ndarray:
    matrix = _searched_from(fixed, moving, start, options, _stages_from(0, options))
    if options.inner_mm == 0:
        return matrix
    deep = replace(fixed, head=inner(fixed.head, options.inner_mm))
    if not deep.head.data.any():
        return matrix
    # The coarsest level would only lose what is found already.
    return _searched_from(deep, moving, matrix, options, _stages_from(1, options))


def _stages_from(level: int, options: CoregisterOptions) -> list[tuple[str, Sequence[int]]]:
    """Kinds of transform, each with its iterations per level from ``level`` on."""
    iterations = options.iterations[level:] or options.iterations
    kind = options.kind.capitalize()
    if options.kind == "rigid" or level > 0:
        return [(kind, iterations)]
    # Only the coarsest level turns and shifts alone: stretching from a distant start leads astray.
    return [("Rigid", (iterations[0], *(0 for _ in iterations[1:]))), (kind, iterations)]


def _searched_from(
    fixed: Ready,
    moving: Ready,
    start: np.ndarray,
    options: CoregisterOptions,
    plan: Sequence[tuple[str, Sequence[int]]],
) -> np.ndarray:
    pair = to_ants(fixed.flat), to_ants(moving.flat)
    sampling = min(options.sampling, options.max_samples / max(int(fixed.head.data.sum()), 1))
    metric = Metric("Mattes", *pair, parameter=options.bins, sampling=sampling)
    stages = [
        Stage(
            f"{kind}[{_GRADIENT_STEP}]",
            [metric],
            iterations,
            options.shrink[-len(iterations) :],
            options.smoothing_mm[-len(iterations) :],
            threshold=options.threshold,
            window=_CONVERGENCE_WINDOW,
        )
        for kind, iterations in plan
    ]
    with scratch() as folder:
        first = write_matrix(start, folder / "start.mat")
        return matrix_from_ants(Search(stages, [first], mask=to_ants(fixed.head)).run(folder).linear)


def _judged(fixed: Ready, moving: Ready, matrix: np.ndarray, search: int) -> Registered:
    middle = center(fixed.scan)
    motion = {
        "rotation_deg": rotation_degrees(matrix),
        "translation_mm": float(np.linalg.norm((matrix @ [*middle, 1.0])[:3] - middle)),
        "searched": float(search),
    }
    return Registered(matrix, measure(fixed.prepared, moving.prepared, matrix) | motion)


def _check_success(name: str, reference: str, found: Registered, options: CoregisterOptions) -> None:
    failed = failure(found.qc, options.check)
    if failed is not None:
        raise InputError(
            f"{name} could not be registered to {reference}",
            given=failed[0],
            allowed=failed[1],
            cure="look at both scans: are they of one person, do they show the same part of the head? Widen "
            "`coregister.search`, or allow more in `coregister.check`, or leave the study out",
        )
