"""Random smooth fields, regular frames in head space, and soft steps."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import ndimage


@dataclass(frozen=True)
class Frame:
    """A regular, axis-aligned lattice of voxels in head space (RAS mm, near MNI152).

    Attributes:
        origin: ``(3,)`` mm, centre of the first voxel.
        step: voxel, mm.
        shape: voxels along x, y, z.
    """

    origin: tuple[float, float, float]
    step: float
    shape: tuple[int, int, int]

    def axes(self) -> list[np.ndarray]:
        """The coordinates along x, y and z, mm, shaped to broadcast to ``shape``."""
        out = []
        for axis in range(3):
            line = self.origin[axis] + self.step * np.arange(self.shape[axis], dtype=np.float32)
            out.append(line.astype(np.float32).reshape([-1 if axis == a else 1 for a in range(3)]))
        return out

    def box(self, center: np.ndarray, half_mm: float) -> tuple[slice, slice, slice]:
        """The voxels within ``half_mm`` of ``center`` (mm) along every axis, clipped to the frame."""
        bounds = []
        for axis in range(3):
            at = (center[axis] - self.origin[axis]) / self.step
            reach = half_mm / self.step
            bounds.append(slice(max(0, int(at - reach)), min(self.shape[axis], int(at + reach) + 2)))
        return bounds[0], bounds[1], bounds[2]

    def part(self, box: tuple[slice, slice, slice]) -> Frame:
        """The frame of a box of voxels."""
        origin = tuple(float(self.origin[a] + self.step * box[a].start) for a in range(3))
        shape = tuple(int(box[a].stop - box[a].start) for a in range(3))
        return Frame(origin, self.step, shape)  # type: ignore[arg-type]

    def affine(self) -> np.ndarray:
        """``(4, 4)`` float64, voxel indices to head space mm."""
        matrix = np.diag([self.step, self.step, self.step, 1.0])
        matrix[:3, 3] = self.origin
        return matrix


def _bspline_weights(points: np.ndarray, knots: int) -> np.ndarray:
    """Uniform cubic B-spline basis at ``points`` (in knot units): ``(len(points), knots)`` float32."""
    distance = np.abs(points[:, None] - np.arange(knots)[None, :])
    near = 2 / 3 - distance**2 + distance**3 / 2
    far = np.clip(2 - distance, 0, None) ** 3 / 6
    return np.where(distance < 1, near, far).astype(np.float32)


def smooth_noise(rng: np.random.Generator, frame: Frame, knot_mm: float) -> np.ndarray:
    """Gaussian-like random field from a cubic B-spline over random knots.

    Args:
        rng: source of the knots.
        frame: where the field is wanted.
        knot_mm: distance of the knots; features are about twice that wide.

    Returns:
        ``frame.shape`` float32, mean about 0, standard deviation 1.
    """
    weights = []
    for axis in range(3):
        line = np.arange(frame.shape[axis]) * (frame.step / knot_mm)
        # One random knot of phase and a margin, so that all voxels lie between four knots.
        weights.append(_bspline_weights(line + 1 + rng.random(), int(np.ceil(line[-1])) + 4))
    field = rng.standard_normal([w.shape[1] for w in weights]).astype(np.float32)
    for axis in range(3):
        field = np.moveaxis(np.tensordot(weights[axis], field, axes=(1, axis)), 0, axis)
    # Standard deviation of a cubic B-spline sum over unit knots, per axis: sqrt(mean of sum of squares) = 0.6925.
    return np.ascontiguousarray(field / np.float32(0.6925**3))


def sample(image: np.ndarray, frame: Frame, points: tuple[np.ndarray, ...], mode: str = "constant") -> np.ndarray:
    """Linear interpolation of an image at points in mm, float32, shaped as the points; 0 outside, or by ``mode``."""
    at = np.stack([(p - o) * np.float32(1 / frame.step) for p, o in zip(points, frame.origin, strict=True)])
    return ndimage.map_coordinates(image, at, output=np.float32, order=1, mode=mode, prefilter=False)


def ramp(value: np.ndarray, start: float, stop: float) -> np.ndarray:
    """Smooth step from 0 at ``start`` to 1 at ``stop`` (either may be the larger)."""
    t = np.clip((value - np.float32(start)) * np.float32(1 / (stop - start)), 0, 1)
    return t * t * (3 - 2 * t)


def sigmoid(value: np.ndarray) -> np.ndarray:
    """Logistic function, float32, safe for large values."""
    return (0.5 * (1 + np.tanh(0.5 * value))).astype(np.float32)


def smooth(image: np.ndarray, sigma_voxels: float) -> np.ndarray:
    """Gaussian smoothing, float32."""
    return ndimage.gaussian_filter(image, sigma_voxels, output=np.float32, truncate=2.5)
