"""antsRegistration and Atropos with every option spelt out.

``ants.registration`` fixes half of what a thick-slice study needs, and ``ants.atropos`` draws another random seed at
each call and drops options where it is given several images.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from lesionlab.imaging.ants_bridge import load_ants

if TYPE_CHECKING:
    from ants import ANTsImage


@dataclass(frozen=True)
class Metric:
    """One similarity term: ``kind`` of ``fixed`` and ``moving``.

    Attributes:
        kind: ``Mattes`` (parameter: bins), ``CC`` (radius, voxels), ``GC`` (none) or ``MeanSquares`` (none).
        fixed: the image that stays.
        moving: the image that moves.
        weight: relative to the stage's other terms.
        parameter: see ``kind``.
        sampling: share of the voxels looked at, on a regular lattice; None looks at all.
    """

    kind: str
    fixed: ANTsImage
    moving: ANTsImage
    weight: float = 1.0
    parameter: int = 32
    sampling: float | None = None

    def text(self) -> str:
        """The term as antsRegistration's ``--metric`` takes it."""
        from ants.internal import get_pointer_string

        pair = f"{get_pointer_string(self.fixed)},{get_pointer_string(self.moving)}"
        rest = "" if self.sampling is None else f",Regular,{self.sampling}"
        return f"{self.kind}[{pair},{self.weight},{self.parameter}{rest}]"


@dataclass(frozen=True)
class Stage:
    """One transform and how it is searched, from coarse to fine.

    Attributes:
        transform: ``Rigid[0.1]``, ``Affine[0.1]``, ``SyN[0.2,3,0]`` (gradient step; update and total field smoothing,
            voxels).
        metrics: terms that are added up.
        iterations: at most, per level.
        shrink: subsampling per level (less along thick axes: ANTs evens out the voxels).
        smoothing_mm: Gaussian sigma per level.
        threshold: slope of the metric below which a level ends.
        window: iterations over which the slope is taken.
    """

    transform: str
    metrics: Sequence[Metric]
    iterations: Sequence[int]
    shrink: Sequence[int]
    smoothing_mm: Sequence[float]
    threshold: float = 1e-6
    window: int = 10

    def arguments(self) -> list[str]:
        """The stage as command line."""
        terms = [word for metric in self.metrics for word in ("--metric", metric.text())]
        return [
            *("--transform", self.transform),
            *terms,
            *("--convergence", f"[{_levels(self.iterations)},{self.threshold},{self.window}]"),
            *("--shrink-factors", _levels(self.shrink)),
            *("--smoothing-sigmas", _levels(self.smoothing_mm) + "mm"),
        ]


@dataclass(frozen=True)
class Found:
    """Files of the transforms found: the linear one, and the warp with its inverse, where there was such a stage."""

    linear: str | None
    warp: str | None = None
    inverse_warp: str | None = None

    @property
    def forward(self) -> list[str]:
        """For ``ants.apply_transforms``: brings the moving image to the fixed image's grid."""
        return [file for file in (self.warp, self.linear) if file is not None]


@dataclass(frozen=True)
class Search:
    """A whole registration: stages, start, mask.

    Attributes:
        stages: in order.
        start: a transform file to begin with, or ``[fixed,moving,1]`` (pointers) for the centres of mass; it is merged
            into the linear transform found.
        mask: of the fixed image, for the metric; None looks everywhere.
        moving_mask: of the moving image, likewise.
        double: 64-bit floats inside.
    """

    stages: Sequence[Stage]
    start: Sequence[str] = field(default_factory=tuple)
    mask: ANTsImage | None = None
    moving_mask: ANTsImage | None = None
    double: bool = False

    def run(self, folder: Path, name: str = "found") -> Found:
        """Register; the transforms' files land in ``folder``."""
        from ants.internal import get_pointer_string

        ants, prefix = load_ants(), str(folder / name)
        # The pointers' images have to outlive the call.
        masks = [None if mask is None else mask.clone("unsigned char") for mask in (self.mask, self.moving_mask)]
        pointers = ",".join("NA" if mask is None else get_pointer_string(mask) for mask in masks)
        arguments = [
            *("--dimensionality", "3", "--output", prefix),
            *(word for start in self.start for word in ("--initial-moving-transform", start)),
            *(word for stage in self.stages for word in stage.arguments()),
            *(("--masks", f"[{pointers}]") if any(mask is not None for mask in masks) else ()),
            *("--float", "0" if self.double else "1", "--collapse-output-transforms", "1"),
        ]
        ants.registration(arguments, None)
        return Found(*(_first_of(folder, f"{name}?{end}") for end in _ENDINGS))


def atropos(
    images: Sequence[ANTsImage],
    mask: ANTsImage,
    priors: Sequence[ANTsImage],
    folder: Path,
    *,
    prior_weight: float,
    smoothing: float,
    iterations: int,
) -> list[np.ndarray]:
    """Run Atropos from prior probabilities; all images of one geometry, to the last digit of a NIfTI header.

    Args:
        images: to be segmented.
        mask: of the voxels to look at.
        priors: one per class.
        folder: for files on the way.
        prior_weight: of the priors against the intensities, 0 to 1.
        smoothing: weight of the Markov random field over the next voxels.
        iterations: of expectation and maximisation.

    Returns:
        posterior probabilities ``(X, Y, Z)`` float32, in the order of the priors.

    Raises:
        RuntimeError: Atropos failed.
    """
    from ants.internal import get_lib_fn, get_pointer_string

    ants = load_ants()
    for number, prior in enumerate(priors, start=1):
        ants.image_write(prior, str(folder / f"prior{number:02d}.nii.gz"))
    whole, labels = mask.clone("unsigned int"), mask.clone("unsigned int")
    arguments = [
        *("-d", "3", "-x", get_pointer_string(whole), "-c", f"[{iterations},0]", "-m", f"[{smoothing},1x1x1]"),
        *(word for image in images for word in ("-a", get_pointer_string(image))),
        *("-i", f"PriorProbabilityImages[{len(priors)},{folder}/prior%02d.nii.gz,{prior_weight}]"),
        *("-o", f"[{get_pointer_string(labels)},{folder}/posterior%02d.nii.gz]"),
        *("-r", "0"),  # the same random numbers at each call
    ]
    if get_lib_fn("Atropos")(arguments) != 0:
        raise RuntimeError("Atropos failed: its classes may hold too few voxels in the brain mask")
    files = [folder / f"posterior{number:02d}.nii.gz" for number in range(1, len(priors) + 1)]
    return [ants.image_read(str(file)).numpy().astype(np.float32) for file in files]


_ENDINGS = ("GenericAffine.mat", "Warp.nii.gz", "InverseWarp.nii.gz")  # after the number of the transform


def _first_of(folder: Path, pattern: str) -> str | None:
    return next((str(path) for path in sorted(folder.glob(pattern))), None)


def _levels(values: Sequence[float]) -> str:
    return "x".join(f"{value:g}" for value in values)
