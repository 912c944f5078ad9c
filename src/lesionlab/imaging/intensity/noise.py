"""Noise of a scan, from the scan alone."""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from lesionlab.imaging.volume import Volume

# Immerkaer's mask removes constants, ramps and edges along the axes; noise of deviation s leaves it with 6 s.
_MASK = np.array([[1, -2, 1], [-2, 4, -2], [1, -2, 1]], dtype=np.float32)
_MASK_GAIN = 6.0
_SIGMA_PER_MAD = 1.4826
_CEILING = 1e6


def noise_deviation(volume: Volume, inside: np.ndarray) -> float:
    """Standard deviation of the noise within a mask (Immerkaer 1996, doi:10.1006/cviu.1996.0060), 0 in an empty one.

    The mask acts in the planes of the two finest axes; the median makes edges count little. A scan that was smoothed or
    interpolated shows less noise than it was taken with.

    Args:
        volume: ``(X, Y, Z)``.
        inside: ``(X, Y, Z)`` bool.
    """
    across = int(np.argmax(volume.spacing))
    box = ndimage.find_objects(inside.astype(np.uint8))
    data, inside = (volume.data[box[0]], inside[box[0]]) if box else (volume.data, inside)
    residual = ndimage.convolve(data.astype(np.float32), np.expand_dims(_MASK, across), mode="nearest")
    # At the brain's rim a stripped scan has an edge that is none.
    plane = np.expand_dims(np.ones((3, 3), dtype=bool), across)
    core = ndimage.binary_erosion(inside, plane)
    values = residual[core if core.any() else inside]
    return float(_SIGMA_PER_MAD * np.median(np.abs(values)) / _MASK_GAIN) if values.size else 0.0


def signal_to_noise(volume: Volume, inside: np.ndarray) -> float:
    """The median within a mask over the noise there; 0 in an empty mask, 1e6 where there is no noise."""
    noise = noise_deviation(volume, inside)
    signal = abs(float(np.median(volume.data[inside]))) if inside.any() else 0.0
    return min(signal / noise, _CEILING) if noise > 0 else _CEILING * float(signal > 0)
