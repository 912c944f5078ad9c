"""Registration of one study to another by several sequences at once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from lesionlab.imaging.anatomy.study_frame import Study
from lesionlab.imaging.ants_bridge import RAS_TO_LPS, load_ants, matrix_from_ants, scratch, to_ants, write_matrix
from lesionlab.imaging.ants_command import Metric, Search, Stage
from lesionlab.imaging.volume import Volume

_SAMPLING = 0.25
_PARAMETERS = {"Mattes": 32, "CC": 2, "MeanSquares": 0}  # bins; radius in voxels; none
_FINEST_LINEAR = 2  # a linear transform gains nothing from the last halving of the voxels


@dataclass(frozen=True)
class Registered:
    """A study on another's grid.

    Attributes:
        volumes: every sequence of the moving study there.
        matrix: ``(4, 4)``, the linear part, RAS mm of the fixed -> of the moving study.
        field: ``(X, Y, Z, 3)`` float32, the warp in LPS mm at the fixed grid's voxels, applied before the linear part;
            None where no stage was deformable.
    """

    volumes: dict[str, Volume]
    matrix: np.ndarray
    field: np.ndarray | None


def register_studies(
    fixed: Study,
    moving: Study,
    anchor: str,
    stages: Sequence[Stage],
    start: np.ndarray | None = None,
    *,
    fixed_mask: Volume | None = None,
    moving_mask: Volume | None = None,
) -> Registered:
    """Run the stages, and bring every sequence of ``moving`` to the grid of ``fixed[anchor]``.

    Args:
        fixed: the study that stays.
        moving: the study that moves; outside its field of view lies its smallest value.
        anchor: a sequence of ``fixed``.
        stages: linear ones first.
        start: ``(4, 4)`` RAS mm, fixed -> moving, to begin with; the headers' coordinates by default.
        fixed_mask: above 0 where the metric may look in the fixed study; everywhere by default.
        moving_mask: likewise in the moving study.
    """
    grid = fixed[anchor]
    with scratch() as folder:
        first = () if start is None else (write_matrix(start, folder / "start.mat"),)
        masks = [None if mask is None else to_ants(mask) for mask in (fixed_mask, moving_mask)]
        found = Search(stages, first, masks[0], masks[1]).run(folder)
        assert found.linear is not None
        moved = {name: grid.like(_transformed(volume, grid, found.forward)) for name, volume in moving.items()}
        field = None if found.warp is None else load_ants().image_read(found.warp).numpy().astype(np.float32)
        return Registered(moved, matrix_from_ants(found.linear), field)


def displacement_mm(field: np.ndarray, inside: np.ndarray) -> float:
    """Mean length of a warp's vectors, ``(X, Y, Z, 3)`` mm, in a mask."""
    return float(np.linalg.norm(field[inside], axis=-1).mean())


def jacobian_range(field: np.ndarray, affine: np.ndarray, inside: np.ndarray) -> tuple[float, float]:
    """Least and greatest local change of volume of a warp in a mask; at 0 and below it folds.

    Args:
        field: ``(X, Y, Z, 3)``, displacement in LPS mm at the voxels of a grid, as ANTs writes it.
        affine: ``(4, 4)`` of that grid, voxel -> RAS mm.
        inside: ``(X, Y, Z)`` bool.
    """
    moved = field.astype(np.float64) * np.diag(RAS_TO_LPS)[:3]
    by_voxel = np.stack([np.stack(np.gradient(moved[..., axis]), axis=-1) for axis in range(3)], axis=-2)
    change = np.linalg.det(np.eye(3) + by_voxel[inside] @ np.linalg.inv(affine[:3, :3]))
    return float(change.min()), float(change.max())


def _transformed(volume: Volume, grid: Volume, transforms: list[str]) -> np.ndarray:
    """The voxels of ``volume`` on the grid, its own background outside its field of view."""
    # ANTs takes a negative fill value for a flag, so the background is 0 while it works.
    background = float(volume.data.min())
    lifted = volume.like((volume.data - background).astype(np.float32))
    moved = load_ants().apply_transforms(to_ants(grid), to_ants(lifted), transforms)
    return moved.numpy().astype(np.float32) + np.float32(background)


def linear_stages(
    fixed: Study, moving: Study, metric: Sequence[str], iterations: Sequence[int], kinds: Sequence[str]
) -> list[Stage]:
    """A stage per kind (``Rigid``, ``Affine``) by the mutual information of the sequences in ``metric``, summed.

    Only the last kind goes through all levels; the one before it, at the coarsest, is its start.
    """
    terms = [
        Metric("Mattes", to_ants(fixed[name]), to_ants(moving[name]), 1 / len(metric), 32, _SAMPLING) for name in metric
    ]
    shrink, smoothing = _pyramid(len(iterations), _FINEST_LINEAR)
    coarsest = (iterations[0], *(0 for _ in iterations[1:]))
    plan = [(kind, coarsest) for kind in kinds[:-1]] + [(kind, tuple(iterations)) for kind in kinds[-1:]]
    return [Stage(f"{kind}[0.1]", terms, own, shrink, smoothing, threshold=1e-5, window=5) for kind, own in plan]


def deformable_stage(
    fixed: Study, moving: Study, metric: Sequence[str], iterations: Sequence[int], kind: str = "Mattes"
) -> Stage:
    """SyN by the sequences in ``metric``; kind: ``Mattes``, ``CC`` or ``MeanSquares``."""
    weight, parameter = 1 / len(metric), _PARAMETERS[kind]
    terms = [Metric(kind, to_ants(fixed[name]), to_ants(moving[name]), weight, parameter) for name in metric]
    shrink, smoothing = _pyramid(len(iterations), finest=1)
    return Stage("SyN[0.2,3,0]", terms, iterations, shrink, smoothing)


def _pyramid(levels: int, finest: int) -> tuple[list[int], list[float]]:
    """Subsampling, halved from level to level, and the smoothing (mm) that goes with it."""
    shrink = [finest * 2 ** (levels - 1 - level) for level in range(levels)]
    return shrink, [float(factor - 1) for factor in shrink]
