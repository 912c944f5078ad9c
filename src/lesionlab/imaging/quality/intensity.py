"""Noise, evenness and the intensity scale of a scan within the brain."""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from lesionlab.imaging.quality.lattice import Lattice
from lesionlab.imaging.volume import Volume

PERCENTILES = (5, 15, 25, 35, 45, 55, 65, 75, 85, 95)
NEAR_MM = 12.0  # over which a bias field hardly changes
PURE = 0.8  # share of white matter that counts
FLAT = 0.5  # part of the brain, that with the least structure, in which noise is measured
CENTRED = 0.05  # share of negative voxels from which a scan's zero is no darkness
_TINY = 1e-6
# Second differences along both axes of a plane cancel what varies slowly; noise passes with a gain of 6
# (Immerkaer, Fast noise variance estimation, Computer Vision and Image Understanding 64, 1996).
_NOISE_KERNEL = np.array([[1.0, -2.0, 1.0], [-2.0, 4.0, -2.0], [1.0, -2.0, 1.0]])
_NOISE_GAIN = 6.0
_MAD_TO_SD = 1.4826


def signal_to_noise(image: Volume, brain: Volume) -> float:
    """The median intensity of the brain over the noise's standard deviation; infinite for an image without noise.

    NaN where it has no meaning: for intensities centred on 0, as z-scored scans have them.

    Args:
        image: on its own grid; interpolation, which takes noise away, makes the value larger.
        brain: mask on the same grid.
    """
    thick = int(np.argmax(image.spacing))
    data = np.moveaxis(image.data.astype(np.float32), thick, 2)
    inside = ndimage.binary_erosion(np.moveaxis(brain.data > 0, thick, 2), np.ones((3, 3, 1)))
    if not inside.any() or (data[inside] < 0).mean() > CENTRED:
        return float("nan")
    structure = ndimage.gaussian_gradient_magnitude(data, 1.0)
    flat = inside & (structure <= np.quantile(structure[inside], FLAT))
    rest = ndimage.convolve(data, _NOISE_KERNEL[:, :, None])[flat]
    noise = _MAD_TO_SD * float(np.median(np.abs(rest))) / _NOISE_GAIN
    return float(np.median(data[inside]) / noise) if noise > 0 else float("inf")


def unevenness(image: np.ndarray, white_matter: np.ndarray, lattice: Lattice) -> float:
    """How much white matter's intensity drifts over the brain: the standard deviation of its local mean, log units.

    Args:
        image: on the lattice, positive within the brain.
        white_matter: its share of each voxel, without lesions.
        lattice: the brain.
    """
    pure = (white_matter > PURE) & lattice.brain & (image > 0)
    if not pure.any():
        return float("nan")
    logs = np.where(pure, np.log(np.maximum(image, _TINY)), 0).astype(np.float32)
    sigma = NEAR_MM / lattice.step
    weight = ndimage.gaussian_filter(pure.astype(np.float32), sigma)
    local = ndimage.gaussian_filter(logs, sigma) / np.maximum(weight, _TINY)
    return float(local[pure].std())


def percentiles(image: Volume, brain: Volume) -> list[float]:
    """The intensities below which 5, 15, ... 95 % of the brain lie."""
    values = np.asarray(image.data, np.float64)[brain.data > 0]
    return [float(value) for value in np.percentile(values, PERCENTILES)]


def coverage(image: Volume, brain: Volume) -> float:
    """The share of the brain's voxels that the scan has seen.

    Args:
        image: 0, or its least value, wherever its field of view did not reach.
        brain: mask on the same grid.
    """
    inside = brain.data > 0
    values = image.data[inside]
    seen = (values != 0) & (values != image.data.min())
    return float(seen.mean()) if inside.any() else float("nan")
