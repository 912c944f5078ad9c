"""Whether a registration succeeded, told without the registration: does the match fade in every direction from the pose
found, and do the edges inside the head agree (Haber and Modersitzki 2006, doi:10.1007/11866763_89)?"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from pydantic import BaseModel, ConfigDict, Field
from scipy import ndimage

from lesionlab.imaging.registration.head import center, isotropic
from lesionlab.imaging.registration.pose import Pair, make_pair, rigid_matrix
from lesionlab.imaging.resample import resample_like
from lesionlab.imaging.volume import Volume

_MM = 4.0  # voxel at which alignment is judged
_BINS = 32
_SAMPLES = 20_000
_STEP_MM = 4.0  # from the pose found to its neighbours
_RADIUS_MM = 70.0  # at which a turn moves a point by the step
_FARTHEST_MM = 12.0  # an offset along one axis that is not to be told from a larger one
_SEEN = 0.1  # of the fixed head, at least, for a pose to count
_INNER_MM = 20.0  # from the head's surface inwards: two heads' outlines agree even where nothing else does
_EDGE_SIGMA = 0.7  # voxels


class CheckOptions(BaseModel):
    """From where on a registration counts as failed."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    peak_offset_mm: float | None = Field(
        2.0, gt=0, description="distance of the best match from the pose found, at most; null: not judged"
    )
    edge_agreement: float | None = Field(
        0.58, ge=0, le=1, description="of the edges' directions, at least; 1/3 is chance; null: not judged"
    )


@dataclass(frozen=True)
class Prepared:
    """A scan as alignment is judged on it: flattened and on cubic voxels, with the head there as bool."""

    image: Volume
    head: np.ndarray

    @classmethod
    def of(cls, flat: Volume, head: Volume) -> Prepared:
        """From a flattened scan and its head mask, both on the scan's own grid."""
        inside = isotropic(head.like((head.data > 0).astype(np.float32)), _MM).data > 0.5
        return cls(isotropic(flat, _MM), inside)


def measure(fixed: Prepared, moving: Prepared, matrix: np.ndarray) -> dict[str, float]:
    """How well two scans agree under a transform.

    Args:
        fixed: the scan that stays.
        moving: the scan that is seen there.
        matrix: ``(4, 4)`` RAS mm, fixed -> moving.

    Returns:
        ``mi_before``, ``mi_after``: mutual information in the head in nats, under the headers and under the matrix;
        ``peak_offset_mm``: distance of its maximum from the matrix, by a parabola along each of the six motions
        (at most 29.4, where it has none);
        ``edge_agreement``: mean squared cosine between the two scans' gradients inside the head, weighted by their
        strength: 1/3 for unrelated ones, 1 for parallel ones;
        ``overlap``: share of the fixed scan's head that the moving scan shows.
    """
    pair = make_pair(fixed.image, moving.image, fixed.head, _BINS, _SAMPLES, _SEEN)
    return {
        "mi_before": pair.mutual_information(np.eye(4)),
        "mi_after": pair.mutual_information(matrix),
        "peak_offset_mm": _peak_offset(pair, matrix, center(fixed.image)),
        "edge_agreement": _edge_agreement(fixed, moving, matrix),
        "overlap": float(pair.look_up(matrix)[1].mean()),
    }


def failure(measures: Mapping[str, float], options: CheckOptions) -> tuple[str, str] | None:
    """What was measured and what would have been allowed, where that says that a registration failed; else None."""
    offset, edges = measures["peak_offset_mm"], measures["edge_agreement"]
    if options.peak_offset_mm is not None and not offset <= options.peak_offset_mm:
        allowed = f"at most {options.peak_offset_mm:g} mm (`coregister.check.peak_offset_mm`)"
        return f"the best match lies {offset:.1f} mm from the pose found", allowed
    if options.edge_agreement is not None and not edges >= options.edge_agreement:
        allowed = f"at least {options.edge_agreement:g} (`coregister.check.edge_agreement`)"
        return f"the edges' agreement is {edges:.2f}", allowed
    return None


def _peak_offset(pair: Pair, matrix: np.ndarray, middle: np.ndarray) -> float:
    turn = np.degrees(_STEP_MM / _RADIUS_MM)
    here = pair.mutual_information(matrix)
    offsets = []
    for step in np.diag([turn] * 3 + [_STEP_MM] * 3):
        before, after = (pair.mutual_information(rigid_matrix(sign * step, middle, matrix)) for sign in (-1, 1))
        bend = before - 2 * here + after
        top = 0.5 * (before - after) / bend * _STEP_MM if bend < 0 else _FARTHEST_MM
        offsets.append(min(abs(top), _FARTHEST_MM))
    return float(np.linalg.norm(offsets))


def _edge_agreement(fixed: Prepared, moving: Prepared, matrix: np.ndarray) -> float:
    one = fixed.image.data
    other = resample_like(moving.image, fixed.image, matrix=matrix, antialias=False).data
    depth = round(_INNER_MM / _MM)
    # Beyond the field of view there may well be head: the border of a slab is no surface.
    inside = ndimage.binary_erosion(fixed.head, iterations=depth, border_value=1) & _shown(fixed, moving, matrix)
    if not inside.any():
        return 0.0
    gradients = [_gradient(image) for image in (one, other)]
    size_one, size_other = (np.linalg.norm(gradient, axis=0)[inside] for gradient in gradients)
    product = (gradients[0] * gradients[1]).sum(axis=0)[inside] ** 2
    # A gradient below the median is mostly noise: it counts the less, the weaker it is.
    weight = size_one**2 + np.median(size_one**2), size_other**2 + np.median(size_other**2)
    strength = (size_one**2 * size_other**2 / (weight[0] * weight[1])).sum()
    return float((product / (weight[0] * weight[1])).sum() / strength) if strength > 0 else 0.0


def _gradient(image: np.ndarray) -> np.ndarray:
    return np.stack([ndimage.gaussian_filter(image, _EDGE_SIGMA, order=order) for order in np.eye(3, dtype=int)])


def _shown(fixed: Prepared, moving: Prepared, matrix: np.ndarray) -> np.ndarray:
    """Where the moving scan shows the fixed grid, with a voxel's distance from its border."""
    whole = moving.image.like(np.ones(moving.image.shape, dtype=np.uint8))
    seen = resample_like(whole, fixed.image, matrix=matrix, interpolation="nearest", antialias=False).data > 0
    return ndimage.binary_erosion(seen, border_value=1)
