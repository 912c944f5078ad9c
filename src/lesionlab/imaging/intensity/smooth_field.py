"""Smooth fields: cubic B-splines with a price on bending."""

from __future__ import annotations

from functools import cached_property, reduce

import numpy as np
from scipy.interpolate import BSpline

_DEGREE = 3
_SPLINES_PER_WAVE = 2.0  # so that shorter waves cannot be had at any price
_QUADRATURE = 64  # places per axis at which the bending is summed up
_RIDGE = 1e-9  # of the mean curvature: keeps the system solvable where no sample lies


class SmoothField:
    """Fields on the box around a mask, as sums of cubic B-splines.

    The price of bending is ``(wavelength / 2 pi)^4`` times the mean squared second derivatives. Of a wave twice as long
    as the wavelength it leaves 16/17, of one as long at most a half, of one half as long nothing; ramps cost nothing.
    So what lies between samples and beyond them is a plain continuation of what they show.

    Args:
        mask: ``(X, Y, Z)`` bool, not empty. Beyond its bounding box a field goes on with the value at the box's face.
        spacing: voxel size along each axis, mm.
        wavelength_mm: see above.
    """

    def __init__(self, mask: np.ndarray, spacing: tuple[float, float, float], wavelength_mm: float) -> None:
        places = np.nonzero(mask)
        ends = [(float(axis.min()), float(axis.max())) for axis in places]
        knots_mm = wavelength_mm / _SPLINES_PER_WAVE
        self._axes = [_Axis(*each, knots_mm) for each in zip(mask.shape, spacing, ends, strict=True)]
        self._stiffness = (wavelength_mm / (2 * np.pi)) ** 4

    @cached_property
    def bending(self) -> np.ndarray:
        """``(P, P)``: the price of the coefficients ``c`` is ``c @ bending @ c``."""
        pure = [self._product(*(2 * int(axis == k) for k in range(3))) for axis in range(3)]
        mixed = [self._product(*(int(axis != k) for k in range(3))) for axis in range(3)]
        return self._stiffness * np.sum(pure + mixed + mixed, axis=0)

    def design(self, voxels: np.ndarray) -> np.ndarray:
        """The splines' values ``(N, P)`` at voxel indices ``(N, 3)``."""
        x, y, z = (axis.values[voxels[:, k]] for k, axis in enumerate(self._axes))
        return np.einsum("ni,nj,nk->nijk", x, y, z).reshape(len(voxels), -1)

    def fit(self, design: np.ndarray, target: np.ndarray, weight: np.ndarray) -> np.ndarray:
        """Coefficients ``(P,)`` of the least squares with weights (0 or more, not all 0) and the price of bending."""
        share = weight / weight.sum()
        normal = (design * share[:, None]).T @ design + self.bending
        normal[np.diag_indices_from(normal)] += _RIDGE * np.trace(normal) / len(normal)
        return np.linalg.solve(normal, design.T @ (share * target))

    def on_grid(self, coefficients: np.ndarray) -> np.ndarray:
        """The field ``(X, Y, Z)``, float32."""
        field = coefficients.reshape([axis.values.shape[1] for axis in self._axes])
        for axis in self._axes:  # each takes the first axis and leaves its voxels as the last
            field = np.tensordot(field, axis.values.T, axes=(0, 0))
        return field.astype(np.float32)

    def _product(self, *orders: int) -> np.ndarray:
        return reduce(np.kron, [axis.energy(order) for axis, order in zip(self._axes, orders, strict=True)])


class _Axis:
    """The splines along one axis; ``values`` is ``(voxels, splines)``."""

    def __init__(self, count: int, step: float, ends: tuple[float, float], knots_mm: float) -> None:
        first, last = ends[0], max(ends[1], ends[0] + 1)
        cells = max(1, round((last - first) * step / knots_mm))
        self._knots = first + (last - first) / cells * np.arange(-_DEGREE, cells + _DEGREE + 1)
        self._ends, self._step = (first, last), step
        self.values = self._basis(np.clip(np.arange(count, dtype=float), first, last), 0)

    def energy(self, order: int) -> np.ndarray:
        """Mean products of the splines' derivatives of an order (per mm)."""
        first, last = self._ends
        middles = first + (last - first) * (np.arange(_QUADRATURE) + 0.5) / _QUADRATURE
        derivative = self._basis(middles, order) / self._step**order
        return derivative.T @ derivative / _QUADRATURE

    def _basis(self, places: np.ndarray, order: int) -> np.ndarray:
        splines = BSpline(self._knots, np.eye(len(self._knots) - _DEGREE - 1), _DEGREE)
        return (splines.derivative(order) if order else splines)(places)
