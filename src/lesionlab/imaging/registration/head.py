"""What a registration looks at: the head, and its structure without the scanner's shading."""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from lesionlab.imaging.resample import resample
from lesionlab.imaging.volume import Volume

AIR = 0.15  # of the brightest tissue: below is air
TOP_PERCENTILE = 99.5  # vessels and fat above it would take most of the histogram's bins

_THIN = 0.05  # keeps a division by a local mean that is made of air in bounds
_HISTOGRAM_PERCENTILES = (1.0, 98.0)  # of the head: what lies beyond shares the outermost bins
_RIM = 2  # voxels of air around the head, and the gaps that are closed


def head_mask(volume: Volume) -> Volume:
    """Where the head is, with a rim of air: uint8. Air far from it tells a registration nothing."""
    data = ndimage.gaussian_filter(volume.data - volume.data.min(), 1.0)
    head = data > AIR * np.percentile(data, TOP_PERCENTILE)
    wide = ndimage.binary_dilation(head, iterations=_RIM)
    # A closing that takes what lies beyond the field of view for head: a scan of a few planes would lose all of them.
    closed = ndimage.binary_erosion(wide, iterations=_RIM, border_value=1)
    head = ndimage.binary_fill_holes(closed)
    return volume.like(ndimage.binary_dilation(head, iterations=_RIM).astype(np.uint8))


def inner(head: Volume, depth_mm: float) -> Volume:
    """The part of a head mask that lies deeper than ``depth_mm``: uint8. The border of the field of view is no surface.

    A scanner shows fat, and with it the scalp, shifted against water: what lies deeper tells where the brain is.
    """
    padded = np.pad(head.data > 0, 1, mode="edge")
    depth = ndimage.distance_transform_edt(padded, sampling=head.spacing)[1:-1, 1:-1, 1:-1]
    return head.like((depth > depth_mm).astype(np.uint8))


def flattened(volume: Volume, sigma_mm: float, head: Volume | None = None) -> Volume:
    """The volume over its local mean: two scans' bias fields differ, and pull a registration apart by 0.2 mm.

    Args:
        volume: a raw scan.
        sigma_mm: of the local mean; 0 leaves the shading as it is.
        head: its :func:`head_mask`, where that is known already.

    Returns:
        float32, 0 outside the head.
    """
    data = np.clip(volume.data - volume.data.min(), 0, None).astype(np.float32)
    data = np.minimum(data, np.percentile(data, TOP_PERCENTILE))
    if sigma_mm == 0:
        return volume.like(data)
    sigma = [sigma_mm / size for size in volume.spacing]
    inside = (head or head_mask(volume)).data.astype(np.float32)
    weight = ndimage.gaussian_filter(inside, sigma)
    mean = ndimage.gaussian_filter(data * inside, sigma) / np.maximum(weight, _THIN)
    flat = data / np.maximum(mean, AIR * mean.max())
    low, high = np.percentile(flat[inside > 0], _HISTOGRAM_PERCENTILES)
    return volume.like(inside * np.clip(flat, low, high))


def isotropic(volume: Volume, spacing_mm: float) -> Volume:
    """The volume on cubic voxels along its own axes, about the same centre, anti-aliased: float32."""
    spacing = np.array(volume.spacing)
    shape = np.maximum(np.ceil(np.array(volume.shape) * spacing / spacing_mm), 1).astype(int)
    affine = volume.affine.copy()
    affine[:3, :3] *= spacing_mm / spacing
    affine[:3, 3] = center(volume) - affine[:3, :3] @ ((shape - 1) / 2)
    size = (int(shape[0]), int(shape[1]), int(shape[2]))
    return resample(volume.like(volume.data.astype(np.float32)), size, affine, fill=float(volume.data.min()))


def no_finer(volume: Volume, least_mm: float) -> Volume:
    """The volume with its finer axes thinned out to ``least_mm``, anti-aliased; itself where none is finer."""
    spacing = np.array(volume.spacing)
    scale = np.where(spacing < least_mm, least_mm / spacing, 1.0)
    if (scale == 1).all():
        return volume
    shape = np.maximum(np.floor(np.array(volume.shape) / scale), 1).astype(int)
    affine = volume.affine @ np.diag([*scale, 1.0])
    affine[:3, 3] = center(volume) - affine[:3, :3] @ ((shape - 1) / 2)
    size = (int(shape[0]), int(shape[1]), int(shape[2]))
    return resample(volume.like(volume.data.astype(np.float32)), size, affine, fill=float(volume.data.min()))


def center(volume: Volume) -> np.ndarray:
    """RAS mm of the middle of the field of view, ``(3,)``."""
    middle = (np.array(volume.shape) - 1) / 2
    return (volume.affine @ [*middle, 1.0])[:3]


def center_of_mass(volume: Volume) -> np.ndarray:
    """RAS mm of the centre of the intensities above the smallest one, ``(3,)``."""
    weight = np.clip(volume.data - volume.data.min(), 0, None).astype(np.float64)
    marginals = [weight.sum(axis=axes) for axes in ((1, 2), (0, 2), (0, 1))]
    middle = [float((np.arange(line.size) * line).sum() / max(line.sum(), 1e-12)) for line in marginals]
    return (volume.affine @ [*middle, 1.0])[:3]
