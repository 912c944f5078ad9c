"""Geometry of lesions in one plane: mirror, scale a core about its centroid, let a ring give way, transplant."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from scipy import ndimage

from lesionlab.slices.cutting import FIRST_LESION

EIGHT_NEIGHBOURS = np.ones((3, 3), bool)
BISECTIONS = 12  # zooms tried: the bracket narrows by 2^12, far below a pixel
CLOSE_ENOUGH = 0.01  # relative error of the area at which the search ends
ZOOM_MARGIN = 4.0  # the bracket of zooms reaches so many times beyond the ideal one: clipping and thin rims cost area
RING_PERCENTILE = 25.0  # a ring counts as closed with the thickness that three quarters of the core's border exceed


def midline_twice(brain: np.ndarray) -> int:
    """Twice the column of the brain's midline: the mean over rows of left plus right border, rounded.

    Doubled, because a midline between two columns mirrors pixels onto pixels as well.
    """
    rows = np.flatnonzero(brain.any(axis=1))
    if not len(rows):
        return brain.shape[1] - 1
    left = brain[rows].argmax(axis=1)
    right = brain.shape[1] - 1 - brain[rows, ::-1].argmax(axis=1)
    return round(float(np.mean(left + right)))


def mirror(lesion: np.ndarray, twice: int) -> np.ndarray:
    """A lesion ``(H, W)`` reflected in the column ``twice / 2``; pixels that leave the picture are lost."""
    width = lesion.shape[1]
    source = twice - np.arange(width)
    valid = (source >= 0) & (source < width)
    result = np.zeros_like(lesion)
    result[:, valid] = lesion[:, source[valid]]
    return result


def signed_distance(mask: np.ndarray) -> np.ndarray:
    """Distance in pixels to the border of a mask, negative inside; a constant beyond the picture where it is empty."""
    if not mask.any():
        return np.full(mask.shape, float(sum(mask.shape)))
    outside = ndimage.distance_transform_edt(~mask)
    inside = ndimage.distance_transform_edt(np.pad(mask, 1))[1:-1, 1:-1]
    # The border lies half-way between the outermost pixel inside (1) and the innermost outside (1).
    return np.where(mask, 0.5 - inside, outside - 0.5)


def scale_core(
    labels: np.ndarray, brain: np.ndarray, core: Sequence[int], scaled: int, wanted: int, tolerance: float
) -> tuple[np.ndarray, float]:
    """Scale the parts of a lesion that hold the class `scaled` until it covers `wanted` pixels of the brain.

    Each connected part of the core (for example a tumor with its cavity) is zoomed about its own centroid, all by one
    factor; where that would push it out of the brain, about its pixel nearest the brain's border, so that it grows
    inward. Parts without the class stay as they are.

    Args:
        labels: ``(H, W)`` label map.
        brain: ``(H, W)`` bool.
        core: codes of the core, strongest first.
        scaled: the code whose area is prescribed.
        wanted: its area in pixels.
        tolerance: relative error of the area that is good enough.

    Returns:
        The core's codes on the grid, 0 elsewhere (not clipped), and the zoom.
    """
    inside = np.isin(labels, core)
    parts, count = ndimage.label(inside, EIGHT_NEIGHBOURS)
    moving = [parts == i for i in range(1, count + 1) if (labels[parts == i] == scaled).any()]
    resting = np.where(inside & ~np.any(moving, axis=0), labels, 0).astype(np.uint8)
    distances = [[signed_distance(part & (labels == code)) for code in core] for part in moving]
    ideal = float(np.sqrt(wanted / np.count_nonzero(labels == scaled)))

    def error(result: np.ndarray) -> float:
        return np.count_nonzero((result == scaled) & brain) / wanted - 1

    def badness(result: np.ndarray) -> tuple[float, int]:
        return max(0.0, abs(error(result)) - tolerance), int(np.count_nonzero((result > 0) & ~brain))

    best, best_zoom = labels * inside, 1.0
    for anchor in (_centroid, _nearest_to_border):
        centres = [anchor(part, brain) for part in moving]

        def at(zoom: float, centres: list[np.ndarray] = centres) -> np.ndarray:
            zoomed = [_zoomed(d, c, zoom, core) for d, c in zip(distances, centres, strict=True)]
            return _strongest([resting, *zoomed], core)

        result, zoom = _bisect(at, error, ideal)
        if badness(result) < badness(best):
            best, best_zoom = result, zoom
        if badness(best) == (0.0, 0):
            break
    return best, best_zoom


def _centroid(part: np.ndarray, brain: np.ndarray) -> np.ndarray:
    return np.asarray(ndimage.center_of_mass(part))


def _nearest_to_border(part: np.ndarray, brain: np.ndarray) -> np.ndarray:
    depth = np.where(part, ndimage.distance_transform_edt(np.pad(brain, 1))[1:-1, 1:-1], np.inf)
    return np.asarray(np.unravel_index(int(depth.argmin()), depth.shape), float)


def _bisect(
    at: Callable[[float], np.ndarray], error: Callable[[np.ndarray], float], ideal: float
) -> tuple[np.ndarray, float]:
    """The result nearest to the wanted area among those tried, and its zoom; the ideal zoom is tried first."""
    low, high = (1.0, ideal * ZOOM_MARGIN) if ideal > 1 else (ideal / ZOOM_MARGIN, 1.0)
    zoom, best, best_zoom = ideal, at(ideal), ideal
    result = best
    for _ in range(BISECTIONS):
        low, high = (zoom, high) if error(result) < 0 else (low, zoom)
        zoom = (low + high) / 2
        result = at(zoom)
        if abs(error(result)) < abs(error(best)):
            best, best_zoom = result, zoom
        if abs(error(best)) < CLOSE_ENOUGH:
            break
    return best, best_zoom


def _zoomed(distances: Sequence[np.ndarray], centre: np.ndarray, zoom: float, codes: Sequence[int]) -> np.ndarray:
    """One part of the core, zoomed: at each pixel the class whose (interpolated) border lies farthest outward."""
    offset = centre - centre / zoom
    pulled = [ndimage.affine_transform(d, np.eye(2) / zoom, offset, order=1, mode="nearest") * zoom for d in distances]
    nearest = np.argmin(pulled, axis=0)  # the first of equals: precedence
    inside = np.min(pulled, axis=0) < 0
    return np.where(inside, np.asarray(codes, np.uint8)[nearest], 0).astype(np.uint8)


def _strongest(layers: Sequence[np.ndarray], codes: Sequence[int]) -> np.ndarray:
    """Layers laid upon each other: at each pixel the code that comes first in `codes`."""
    result = np.zeros_like(layers[0])
    for code in reversed(codes):
        result[np.any([layer == code for layer in layers], axis=0)] = code
    return result


def follow_with_ring(
    labels: np.ndarray, new_core: np.ndarray, brain: np.ndarray, core: Sequence[int], ring: int, scaled: int
) -> np.ndarray:
    """The outermost class around a core that has grown or shrunk: it gives way, keeping its area.

    Pixels of the brain outside the new core are taken in the order of their depth in the old lesion, until the class
    has its old area; pixels near the new core come earlier by the thickness the ring had, so that a closed ring stays
    closed. Lesions that do not hold the class `scaled` keep their ring.

    Args:
        labels: ``(H, W)`` the old label map.
        new_core: ``(H, W)`` codes of the new core, 0 elsewhere.
        brain: ``(H, W)`` bool.
        core: codes of the core.
        ring: code of the outermost class.
        scaled: the code whose area has changed.

    Returns:
        ``(H, W)`` uint8 lesion codes, 0 elsewhere.
    """
    parts, _ = ndimage.label(labels >= FIRST_LESION, EIGHT_NEIGHBOURS)
    affected = np.isin(parts, np.unique(parts[labels == scaled]))
    elsewhere = (labels == ring) & ~affected
    result = np.where(elsewhere & (new_core == 0), np.uint8(ring), new_core).astype(np.uint8)
    area = int(np.count_nonzero((labels == ring) & affected))
    if not area:
        return result
    moved_core = np.isin(labels, core) & affected
    depth = signed_distance(affected)
    level = np.minimum(depth, signed_distance(new_core > 0) - ring_thickness(moved_core, depth))
    free = np.flatnonzero(brain & (result == 0))
    result.flat[free[np.argsort(level.flat[free], kind="stable")[:area]]] = ring
    return result


def ring_thickness(core: np.ndarray, depth: np.ndarray) -> float:
    """How far a lesion reaches beyond its core, in pixels, along (nearly) the whole border of the core.

    Args:
        core: ``(H, W)`` bool.
        depth: ``(H, W)`` signed distance to the border of the lesion, negative inside.
    """
    border = ndimage.binary_dilation(core, EIGHT_NEIGHBOURS) & ~core
    return max(0.0, -float(np.percentile(depth[border], RING_PERCENTILE))) if border.any() else 0.0


def transplant(lesion: np.ndarray, donor_brain: np.ndarray, target_brain: np.ndarray) -> np.ndarray:
    """A donor's lesion at the same place of the target's brain: bounding box onto bounding box, nearest pixel."""
    result = np.zeros(target_brain.shape, lesion.dtype)
    if not (donor_brain.any() and target_brain.any()):
        return result
    sources = []
    for axis in (0, 1):
        donor_low, donor_high = _extent(donor_brain, axis)
        low, high = _extent(target_brain, axis)
        ratio = (donor_high - donor_low) / (high - low)
        centres = np.arange(target_brain.shape[axis]) + 0.5
        sources.append(np.floor(donor_low + (centres - low) * ratio).astype(int))
    rows, columns = sources
    valid_rows = (rows >= 0) & (rows < lesion.shape[0])
    valid_columns = (columns >= 0) & (columns < lesion.shape[1])
    result[np.ix_(valid_rows, valid_columns)] = lesion[np.ix_(rows[valid_rows], columns[valid_columns])]
    return result


def centred_in(core: np.ndarray, outline: np.ndarray) -> np.ndarray:
    """A core ``(H, W)`` moved so that its deepest pixel falls on the deepest one of an outline; what leaves is lost.

    Depth is the distance to the border, so the core comes to lie where the outline has most room for it.
    """
    moved = np.zeros_like(core)
    if not (core.any() and outline.any()):
        return moved
    rows, columns = np.nonzero(core)
    shift = np.subtract(_deepest(outline), _deepest(core > 0))
    rows_there, columns_there = rows + shift[0], columns + shift[1]
    height, width = core.shape
    valid = (rows_there >= 0) & (rows_there < height) & (columns_there >= 0) & (columns_there < width)
    moved[rows_there[valid], columns_there[valid]] = core[rows[valid], columns[valid]]
    return moved


def _deepest(mask: np.ndarray) -> tuple[int, int]:
    depth = ndimage.distance_transform_edt(np.pad(mask, 1))[1:-1, 1:-1]
    row, column = np.unravel_index(int(depth.argmax()), depth.shape)
    return int(row), int(column)


def _extent(mask: np.ndarray, axis: int) -> tuple[int, int]:
    occupied = np.flatnonzero(mask.any(axis=1 - axis))
    return int(occupied[0]), int(occupied[-1]) + 1
