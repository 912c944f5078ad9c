"""The public template (MNI152 of nilearn) and the head that is built around it, once per process."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise

import numpy as np
from scipy import ndimage

from lesionlab.imaging.phantom.fields import Frame, ramp, smooth

HEAD_LOW = (-90.0, -122.0, -94.0)  # mm, corner of head space
HEAD_HIGH = (90.0, 100.0, 102.0)
TEMPLATE_MARGIN = 18.0  # mm, by which the template's maps reach further
HEAD_STEP = 2.0  # mm, of the smooth maps
BRAIN_PAD = 3  # voxels around the brain's bounding box

# Ellipsoids of the face and skull base: centre and radii, mm; x is mirrored.
EYES = ((33.0, 62.0, -38.0), (12.0, 12.5, 12.0))
ORBITS = ((32.0, 50.0, -38.0), (16.0, 26.0, 15.0))
AIR = (
    ((0.0, 60.0, -48.0), (9.0, 26.0, 17.0)),  # nose and ethmoid
    ((27.0, 52.0, -68.0), (13.0, 15.0, 14.0)),  # maxillary sinuses
    ((8.0, 76.0, -16.0), (12.0, 4.5, 10.0)),  # frontal sinuses
    ((0.0, 26.0, -40.0), (12.0, 11.0, 8.0)),  # sphenoid sinus
    ((52.0, -30.0, -46.0), (9.0, 11.0, 12.0)),  # mastoid cells
)
CORD = ((0.0, -44.0, -72.0), (0.0, -50.0, -100.0))  # axis of the spinal canal, from the skull downwards
CORD_MM, CANAL_MM, SPINE_MM = 5.5, 9.0, 13.0  # radii of cord, water, bone
VERTEBRA = ((0.0, -27.0, -92.0), (11.0, 9.0, 16.0))
FACE = ((0.0, 40.0, -56.0), (64.0, 56.0, 62.0))
NECK_RADII = (58.0, 62.0)
NECK_CENTER_Y = -22.0
NECK_TOP = -42.0  # mm
SCALP_MM = 12.0  # from brain to skin, before each subject's own thickness
TEMPLE = ((62.0, 24.0, -14.0), (22.0, 34.0, 32.0))  # where the temporal muscle lies
TEMPLE_MM = 5.0  # by which it thickens the scalp

# Larger arteries as polylines in MNI mm, with radius; x is mirrored.
ARTERIES = (
    ((0, -24, -62), (0, -22, -42), (0, -16, -22)),  # basilar
    ((14, 0, -50), (15, 2, -34), (14, 4, -22)),  # internal carotid
    ((14, 4, -22), (26, 6, -18), (40, 2, -12), (46, -8, 0), (50, -30, 12)),  # middle cerebral
    ((2, 12, -18), (2, 32, 0), (2, 36, 14), (2, 18, 30), (2, -10, 38)),  # anterior cerebral
    ((3, -18, -20), (22, -28, -12), (18, -52, -2)),  # posterior cerebral
)
SINUSES = (
    ((0, -44, 10), (0, -62, 6), (0, -86, -6)),  # straight
    ((4, -96, -12), (28, -92, -18), (50, -70, -24), (60, -46, -34)),  # transverse
)
ARTERY_RADIUS = 1.7  # mm
SINUS_RADIUS = 2.8

Polyline = tuple[tuple[float, float, float], ...]


@dataclass(frozen=True)
class Template:
    """The template brain at 1 mm and the smooth maps of the head around it.

    Attributes:
        brain_frame: frame of the brain maps, cropped to the brain.
        gm, wm, csf: tissue maps float32, [0, 1].
        residual: T1 intensity beyond what the tissue maps explain, float32, about [-0.15, 0.15].
        vessel: larger vessels, float32, [0, 1].
        head_frame: frame of the maps below.
        outside: signed distance to the brain's surface, mm, negative inside, float32.
        skin: signed distance to the skin, mm, negative inside, float32.
        gradient: ``(3, X, Y, Z)`` float32, longest 1: towards the ventricles, near their walls.
    """

    brain_frame: Frame
    gm: np.ndarray
    wm: np.ndarray
    csf: np.ndarray
    residual: np.ndarray
    vessel: np.ndarray
    head_frame: Frame
    outside: np.ndarray
    skin: np.ndarray
    gradient: np.ndarray


def head_frame(step: float, margin: float = 0.0) -> Frame:
    """The frame of a whole head at a voxel of ``step`` mm, wider by ``margin`` mm on every side."""
    shape = tuple(int((high - low + 2 * margin) / step) + 1 for low, high in zip(HEAD_LOW, HEAD_HIGH, strict=True))
    low = tuple(value - margin for value in HEAD_LOW)
    return Frame(low, step, shape)  # type: ignore[arg-type]


@lru_cache(maxsize=1)
def load_template() -> Template:
    """The template with its head, from the maps inside nilearn (MNI152 2009a, 1 mm); made once per process."""
    frame, t1, gm, wm = _load_maps()
    mask = ndimage.binary_fill_holes(ndimage.binary_opening(t1 > 0, iterations=2))
    csf = np.where(mask, np.clip(1 - gm - wm, 0, 1), 0).astype(np.float32)
    residual = np.where(mask, t1 - (0.87 * wm + 0.65 * gm + 0.27 * csf), 0).astype(np.float32)
    head = head_frame(HEAD_STEP, TEMPLATE_MARGIN)
    outside = _signed_distance(_onto(mask.astype(np.float32), frame, head) > 0.5, head.step)
    gradient = _ventricle_gradient(csf, frame, head, outside)
    residual = np.clip(residual, -0.15, 0.15)
    return Template(frame, gm, wm, csf, residual, _vessels(frame), head, outside, _skin(head, outside), gradient)


def _load_maps() -> tuple[Frame, np.ndarray, np.ndarray, np.ndarray]:
    from nilearn import datasets  # slow to import, and needed by the phantom alone

    images = [
        datasets.load_mni152_template(resolution=1),
        datasets.load_mni152_gm_template(resolution=1),
        datasets.load_mni152_wm_template(resolution=1),
    ]
    maps = [np.asarray(image.dataobj, dtype=np.float32) for image in images]
    found = ndimage.find_objects((maps[0] > 0).astype(np.uint8))[0]
    crop = tuple(slice(max(0, s.start - BRAIN_PAD), s.stop + BRAIN_PAD) for s in found)
    origin = (images[0].affine @ [*(s.start for s in crop), 1])[:3]
    maps = [np.ascontiguousarray(m[crop]) for m in maps]
    frame = Frame(tuple(float(o) for o in origin), 1.0, maps[0].shape)  # type: ignore[arg-type]
    return frame, maps[0], maps[1], maps[2]


def _onto(image: np.ndarray, source: Frame, target: Frame) -> np.ndarray:
    scale = target.step / source.step
    offset = [(t - s) / source.step for t, s in zip(target.origin, source.origin, strict=True)]
    return ndimage.affine_transform(image, np.eye(3) * scale, offset, output_shape=target.shape, order=1)


def _signed_distance(mask: np.ndarray, step: float) -> np.ndarray:
    far = ndimage.distance_transform_edt(~mask) - ndimage.distance_transform_edt(mask)
    return smooth((far * step).astype(np.float32), 0.7)


def _ventricle_gradient(csf: np.ndarray, frame: Frame, head: Frame, outside: np.ndarray) -> np.ndarray:
    x, y, z = head.axes()
    deep = ramp(outside, -22, -30) * ((abs(x) < 40) & (z > -22) & (z < 36) & (y > -60))
    core = smooth(_onto(csf, frame, head) * deep, 2.0)
    gradient = np.stack(np.gradient(core)).astype(np.float32)
    return gradient / np.float32(np.linalg.norm(gradient, axis=0).max())


def ellipsoid(axes: list[np.ndarray], shape: tuple[tuple[float, ...], tuple[float, ...]]) -> np.ndarray:
    """Rough signed distance (mm, negative inside) to an ellipsoid given by centre and radii, mirrored in x."""
    (cx, cy, cz), (rx, ry, rz) = shape
    x, y, z = axes
    radius = np.sqrt(((abs(x) - cx) / rx) ** 2 + ((y - cy) / ry) ** 2 + ((z - cz) / rz) ** 2)
    return ((radius - 1) * min(rx, ry, rz)).astype(np.float32)


def _skin(head: Frame, outside: np.ndarray) -> np.ndarray:
    x, y, z = axes = head.axes()
    neck = (np.sqrt((x / NECK_RADII[0]) ** 2 + ((y - NECK_CENTER_Y) / NECK_RADII[1]) ** 2) - 1) * NECK_RADII[0]
    neck = np.maximum(neck, z - NECK_TOP)
    scalp = SCALP_MM + TEMPLE_MM * ramp(ellipsoid(axes, TEMPLE), 0, -18)
    body = np.minimum(np.minimum(outside - scalp, ellipsoid(axes, FACE)), neck)
    return _signed_distance(smooth((body < 0).astype(np.float32), 3.0) > 0.5, head.step)


def _vessels(frame: Frame) -> np.ndarray:
    thin, thick = _tubes(ARTERIES, ARTERY_RADIUS, frame), _tubes(SINUSES, SINUS_RADIUS, frame)
    return np.maximum(thin, thick)


def _tubes(lines: tuple[Polyline, ...], radius: float, frame: Frame) -> np.ndarray:
    """Soft tubes along polylines and their mirror images, float32 in [0, 1]."""
    drawn = np.zeros(frame.shape, np.float32)
    for points in lines:
        line = np.concatenate([np.linspace(a, b, 40) for a, b in pairwise(points)])
        for side in (1.0, -1.0):
            at = np.round((line * [side, 1, 1] - frame.origin) / frame.step).astype(int)
            at = at[((at >= 0) & (at < frame.shape)).all(axis=1)]
            drawn[tuple(at.T)] = 1
    sigma = radius / 2
    # A line of ones smoothed by sigma peaks near 1 / (2 pi sigma^2); doubled and clipped for a flat middle.
    return np.clip(smooth(drawn, sigma) * np.float32(2 * 2 * np.pi * sigma**2), 0, 1)
