"""What a scanner does: pose, thick slices on a grid of its own, bias field, gain, gamma, Rician noise."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import ndimage
from scipy.spatial.transform import Rotation

from lesionlab.imaging.phantom.fields import Frame
from lesionlab.imaging.phantom.options import Coverage, PhantomOptions, SequenceName

# Pixel and slice thickness relative to the options, and the pixels of the matrix beyond the field of view.
GEOMETRY: dict[SequenceName, tuple[float, float]] = {
    "T1w": (1.0, 1.0), "T1ce": (0.975, 1.0), "T2w": (0.94, 0.96), "FLAIR": (1.03, 1.05), "APTw": (1.10, 1.12),
}  # fmt: skip
# Noise relative to the options', and blur beyond the pixel, mm.
NOISE: dict[SequenceName, float] = {"T1w": 1.0, "T1ce": 1.0, "T2w": 1.0, "FLAIR": 1.2, "APTw": 1.7}
BLUR_MM: dict[SequenceName, float] = {"T1w": 0.0, "T1ce": 0.0, "T2w": 0.0, "FLAIR": 0.4, "APTw": 1.7}
BRIGHTNESS: dict[SequenceName, float] = {"T1w": 1.0, "T1ce": 1.1, "T2w": 1.3, "FLAIR": 0.8, "APTw": 0.35}
FIELD_OF_VIEW = (188.0, 236.0, 172.0)  # mm: right-left, front-back, bottom-top
HEAD_CENTER = (0.0, -12.0, 9.0)  # mm, in head space, what a field of view is centred on
CENTER_JITTER_MM = 3.0
SUB_SLICES = 3  # samples over a slice's thickness
SLICE_FILL = 0.9  # part of the slice distance that is excited; the rest is the gap
ORIENTATIONS = ((-1, -1, 1), (1, 1, 1), (-1, 1, 1))  # signs of the voxel axes in RAS: LPS, RAS, LAS
SUBJECT_TURN_DEG, SUBJECT_SHIFT_MM = 5.0, 8.0  # how a head lies in the scanner
BIAS_WAVES = 7
BIAS_WAVE_MM = (160.0, 420.0)


@dataclass(frozen=True)
class Scanner:
    """One scan's acquisition.

    Attributes:
        pose: ``(4, 4)`` float64, head space mm to the scan's RAS mm.
        affine: ``(4, 4)`` float64, voxel indices to the scan's RAS mm.
        shape: voxels along each axis.
        waves: ``(W, 5)`` the bias field's waves: direction (1/mm), phase, weight.
        bias_half_range: half range of the field over the scan.
        gain: white matter's intensity.
        gamma: exponent of the intensities.
        noise: standard deviation of either channel, part of the gain.
        blur_mm: blur beyond the voxel, mm.
        seed: of the noise.
    """

    pose: np.ndarray
    affine: np.ndarray
    shape: tuple[int, int, int]
    waves: np.ndarray
    bias_half_range: float
    gain: float
    gamma: float
    noise: float
    blur_mm: float
    seed: int


def rigid(rotation_deg: np.ndarray, shift_mm: np.ndarray, center: np.ndarray) -> np.ndarray:
    """``(4, 4)`` float64: turn about ``center`` by Euler angles x, y, z (degrees), then shift (mm)."""
    matrix = np.eye(4)
    matrix[:3, :3] = Rotation.from_euler("xyz", rotation_deg, degrees=True).as_matrix()
    matrix[:3, 3] = center + shift_mm - matrix[:3, :3] @ center
    return matrix


def subject_pose(rng: np.random.Generator) -> np.ndarray:
    """How a subject lies in the scanner: ``(4, 4)``, head space mm to RAS mm."""
    turn = rng.uniform(-1, 1, 3) * SUBJECT_TURN_DEG
    return rigid(turn, rng.uniform(-1, 1, 3) * SUBJECT_SHIFT_MM, np.array(HEAD_CENTER))


def plan_scan(sequence: SequenceName, options: PhantomOptions, lying: np.ndarray, rng: np.random.Generator) -> Scanner:
    """A scan of a subject who lies as ``lying`` says and has moved a little since."""
    turn = rng.uniform(-1, 1, 3) * options.rotation_deg
    center = lying[:3, :3] @ np.array(HEAD_CENTER) + lying[:3, 3]
    moved = rigid(turn, rng.uniform(-1, 1, 3) * options.shift_mm, center)
    affine, shape = _grid(sequence, options, center, rng)
    if options.field_follows:
        affine = moved @ affine
    if sequence in options.coverage:
        affine, shape = _part(affine, shape, options.coverage[sequence])
    return Scanner(
        pose=moved @ lying,
        affine=affine,
        shape=shape,
        waves=_waves(rng),
        bias_half_range=float(rng.uniform(*options.bias)),
        gain=float(np.exp(rng.uniform(*np.log(options.gain))) * BRIGHTNESS[sequence]),
        gamma=float(rng.uniform(*options.gamma)),
        noise=options.noise * NOISE[sequence],
        blur_mm=BLUR_MM[sequence],
        seed=int(rng.integers(2**31)),
    )


def _grid(
    sequence: SequenceName, options: PhantomOptions, center: np.ndarray, rng: np.random.Generator
) -> tuple[np.ndarray, tuple[int, int, int]]:
    pixel, slice_ = GEOMETRY[sequence]
    spacing = np.array([options.in_plane_mm * pixel, options.in_plane_mm * pixel, options.slice_mm * slice_])
    shape = np.ceil(np.array(FIELD_OF_VIEW) / spacing).astype(int)
    shape[:2] += shape[:2] % 2
    tilt = Rotation.from_euler("xyz", rng.uniform(-1, 1, 3) * [1, 0.5, 0.5] * options.oblique_deg, degrees=True)
    signs = ORIENTATIONS[int(rng.integers(len(ORIENTATIONS)))]
    affine = np.eye(4)
    affine[:3, :3] = tilt.as_matrix() @ np.diag(spacing * signs)
    middle = center + rng.uniform(-1, 1, 3) * CENTER_JITTER_MM
    affine[:3, 3] = middle - affine[:3, :3] @ ((shape - 1) / 2)
    return affine, (int(shape[0]), int(shape[1]), int(shape[2]))


def _part(
    affine: np.ndarray, shape: tuple[int, int, int], coverage: Coverage
) -> tuple[np.ndarray, tuple[int, int, int]]:
    """The part of a grid that is scanned: voxels left out at one end of an axis, or at both."""
    axis = 0 if coverage.side in ("left", "right") else 2
    left = max(1, round(coverage.kept * shape[axis]))
    out = shape[axis] - left
    upwards = affine[axis, axis] > 0  # the axis runs to the right, or upwards
    at_end = coverage.side in ("right", "top")
    start = out // 2 if coverage.side == "middle" else out * int(at_end == upwards)
    moved = affine.copy()
    moved[:3, 3] += affine[:3, axis] * start
    cut = list(shape)
    cut[axis] = left
    return moved, (cut[0], cut[1], cut[2])


def _waves(rng: np.random.Generator) -> np.ndarray:
    way = rng.standard_normal((BIAS_WAVES, 3))
    way *= (2 * np.pi / rng.uniform(*BIAS_WAVE_MM, (BIAS_WAVES, 1))) / np.linalg.norm(way, axis=1, keepdims=True)
    return np.column_stack([way, rng.uniform(0, 2 * np.pi, BIAS_WAVES), rng.uniform(0.4, 1, BIAS_WAVES)])


def grid_points(affine: np.ndarray, shape: tuple[int, int, int]) -> list[np.ndarray]:
    """RAS mm of every voxel of a grid: x, y and z, each of ``shape``, float32."""
    i, j, k = np.ogrid[: shape[0], : shape[1], : shape[2]]
    a = affine.astype(np.float32)
    return [a[r, 0] * i + a[r, 1] * j + a[r, 2] * k + a[r, 3] for r in range(3)]


def bias_field(scanner: Scanner, points: list[np.ndarray]) -> np.ndarray:
    """The multiplicative field of a scan at points given in the scan's RAS mm, float32, about 1 +- half range."""
    raw, scale = _raw_bias(scanner, points), _bias_scale(scanner)
    return np.exp(raw * scale[1] - scale[0]).astype(np.float32)


def _raw_bias(scanner: Scanner, points: list[np.ndarray]) -> np.ndarray:
    out = np.zeros(np.broadcast_shapes(*(p.shape for p in points)), np.float32)
    for x, y, z, phase, weight in scanner.waves.astype(np.float32):
        out += weight * np.cos(x * points[0] + y * points[1] + z * points[2] + phase)
    return out


def _bias_scale(scanner: Scanner) -> tuple[np.float32, np.float32]:
    """Shift and factor that bring the log field to plus and minus the half range over the field of view."""
    corners = [np.linspace(0, n - 1, 9) for n in scanner.shape]
    index = np.stack(np.meshgrid(*corners, indexing="ij")).reshape(3, -1)
    points = list((scanner.affine[:3, :3] @ index + scanner.affine[:3, 3:]).astype(np.float32))
    raw = _raw_bias(scanner, points)
    low, high = np.percentile(raw, [1, 99])
    factor = 2 * np.log1p(scanner.bias_half_range) / (high - low)
    return np.float32((low + high) / 2 * factor), np.float32(factor)


def acquire(image: np.ndarray, frame: Frame, scanner: Scanner) -> np.ndarray:
    """A map in head space as thick slices on a scan's grid: the mean over each slice's profile, float32."""
    if scanner.blur_mm > 0:
        image = ndimage.gaussian_filter(image, scanner.blur_mm / frame.step, output=np.float32, truncate=3)
    to_voxel = np.linalg.inv(frame.affine()) @ np.linalg.inv(scanner.pose) @ scanner.affine
    out = np.zeros(scanner.shape, np.float32)
    for part in range(SUB_SLICES):
        rise = SLICE_FILL * ((part + 0.5) / SUB_SLICES - 0.5)
        offset = to_voxel[:3, 3] + rise * to_voxel[:3, 2]
        out += ndimage.affine_transform(
            image, to_voxel[:3, :3], offset, scanner.shape, output=np.float32, order=1, mode="constant"
        )
    return out / SUB_SLICES


def expose(signals: Sequence[np.ndarray], scanner: Scanner) -> list[np.ndarray]:
    """Scans from noiseless signals on a scan's grid: gamma, bias, gain, Rician noise; all share bias and noise."""
    bias = bias_field(scanner, grid_points(scanner.affine, scanner.shape))
    noise = np.random.default_rng(scanner.seed).standard_normal((2, *scanner.shape), np.float32)
    noise *= np.float32(scanner.noise)
    clean = (np.maximum(signal, 0) ** np.float32(scanner.gamma) * bias for signal in signals)
    return [np.float32(scanner.gain) * np.hypot(image + noise[0], noise[1]) for image in clean]
