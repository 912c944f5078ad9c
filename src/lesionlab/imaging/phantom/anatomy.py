"""A subject's healthy head: tissue fractions in head space, each subject's own."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from lesionlab.imaging.phantom.fields import Frame, ramp, sample, smooth_noise
from lesionlab.imaging.phantom.options import PhantomOptions
from lesionlab.imaging.phantom.outer import Layers, add_outer_tissues
from lesionlab.imaging.phantom.template import Template, head_frame

COARSE_KNOT_MM, FINE_KNOT_MM = 46.0, 17.0
FINE_SHARE = 0.22  # of the deformation that is fine
HEAD_SCALE = 0.94  # MNI152 is larger than most heads
BRAIN_MARGIN_MM = 2.0  # maps of the brain are sampled up to here outside its surface
SHARPEN = 3.0  # exponent that undoes part of the template's averaging over people
FOLD_KNOT_MM = 9.0
FOLD_RADIUS_MM = 62.0  # folds are sheets that stand upright on the cortex: noise on a sphere of this radius
FOLD_RADIAL = 0.3  # how much of the depth the folds' course follows
FOLD_DEPTH_MM = (7.0, 20.0)
FOLD_SPREAD = (0.6, 1.3)  # between subjects: young to atrophic


@dataclass
class Head:
    """A head in head space.

    Attributes:
        frame: the voxels.
        tissues: fraction of each tissue per voxel, float32, [0, 1]; what is missing to 1 is air.
        residual: T1-like intensity texture of the brain, float32, about [-0.15, 0.15].
        texture: fine texture of everything, float32, standard deviation about 1.
        outside: signed distance to the brain's surface, mm, negative inside, float32.
    """

    frame: Frame
    tissues: dict[str, np.ndarray]
    residual: np.ndarray
    texture: np.ndarray
    outside: np.ndarray

    @property
    def brain(self) -> np.ndarray:
        """Whether a voxel's centre lies in the brain (with its sulci and ventricles)."""
        return self.outside < 0


def healthy_head(template: Template, options: PhantomOptions, rng: np.random.Generator) -> Head:
    """A subject's head without lesions."""
    frame = head_frame(options.work_mm)
    points = _template_points(template, frame, options, rng)
    outside = sample(template.outside, template.head_frame, points, "nearest")
    skin = sample(template.skin, template.head_frame, points, "nearest")
    inside = outside < BRAIN_MARGIN_MM
    tissues, residual = _brain_tissues(template, frame, points, outside, inside, options, rng)
    layers = Layers(frame=frame, points=points, outside=outside, skin=skin)
    add_outer_tissues(tissues, layers, rng)
    texture = 0.6 * ndimage.gaussian_filter(rng.standard_normal(frame.shape, np.float32), 0.8) / 0.18
    texture += 0.5 * smooth_noise(rng, frame, 7.0)
    return Head(frame, tissues, residual, texture.astype(np.float32), outside)


def _template_points(
    template: Template, frame: Frame, options: PhantomOptions, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Where in the template each voxel of the head comes from: three arrays of ``frame.shape``, mm."""
    axes = frame.axes()
    scale = HEAD_SCALE + options.scale * rng.uniform(-1, 1, 3) + options.scale / 2 * rng.uniform(-1, 1)
    shear = rng.uniform(-0.015, 0.015, (3, 3))
    points = []
    for axis in range(3):
        line = axes[axis] / np.float32(scale[axis])
        others = [a for a in range(3) if a != axis]
        line = line + sum(np.float32(shear[axis, a]) * axes[a] for a in others)
        coarse = smooth_noise(rng, frame, COARSE_KNOT_MM) * np.float32(options.deformation_mm)
        fine = smooth_noise(rng, frame, FINE_KNOT_MM) * np.float32(options.deformation_mm * FINE_SHARE)
        points.append(line + coarse + fine)
    widen = np.float32(rng.uniform(*options.ventricles_mm))
    pull = [sample(g, template.head_frame, tuple(points)) for g in template.gradient]
    return tuple(p + widen * g for p, g in zip(points, pull, strict=True))  # type: ignore[return-value]


def _brain_tissues(
    template: Template,
    frame: Frame,
    points: tuple[np.ndarray, np.ndarray, np.ndarray],
    outside: np.ndarray,
    inside: np.ndarray,
    options: PhantomOptions,
    rng: np.random.Generator,
) -> tuple[dict[str, np.ndarray], np.ndarray]:
    at = tuple(p[inside] for p in points)
    depth = -outside[inside]
    maps = {name: sample(getattr(template, name), template.brain_frame, at) for name in ("csf", "gm", "wm")}
    wet, course = _folds(frame, at, depth, options.folding, rng)
    weights = {name: (value + np.float32(0.01)) ** np.float32(SHARPEN) for name, value in maps.items()}
    ribbon = np.exp(-((course / 0.62) ** 2)) * (wet > 0)
    weights["gm"] += 0.9 * ribbon * wet * (weights["wm"] + weights["gm"])
    weights["csf"] += 2.6 * wet * np.exp(-((course / 0.26) ** 2)) * (weights["gm"] + 0.5 * weights["wm"])
    weights["csf"] += ramp(depth, 0.3, -0.8)  # the water between the cortex and the dura
    total = sum(weights.values())
    vessel = sample(template.vessel, template.brain_frame, at) + _pial_vessels(course, wet, frame, at, rng)
    vessel = np.clip(vessel, 0, 1)
    out = {name: _scatter((1 - vessel) * weight / total, inside) for name, weight in weights.items()}
    out["blood"] = _scatter(vessel, inside)
    residual = _scatter(sample(template.residual, template.brain_frame, at), inside)
    return out, residual


def _scatter(values: np.ndarray, inside: np.ndarray) -> np.ndarray:
    out = np.zeros(inside.shape, np.float32)
    out[inside] = values
    return out


def _folds(
    frame: Frame, at: tuple[np.ndarray, ...], depth: np.ndarray, strength: float, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """The subject's own sulci: their strength at each point, and the signed distance from one (in units of 5 mm)."""
    noise = smooth_noise(rng, frame, FOLD_KNOT_MM)
    x, y, z = at[0], at[1] + 18, at[2] - 8
    radius = np.sqrt(x * x + y * y + z * z) + np.float32(1e-3)
    ratio = (FOLD_RADIUS_MM + np.float32(FOLD_RADIAL) * (radius - FOLD_RADIUS_MM)) / radius
    course = sample(noise, frame, (x * ratio, y * ratio - 18, z * ratio + 8))
    reach = sum(FOLD_DEPTH_MM) / 2 + (FOLD_DEPTH_MM[1] - FOLD_DEPTH_MM[0]) / 3 * smooth_noise(rng, frame, 30.0)
    reach = np.clip(sample(reach, frame, at), *FOLD_DEPTH_MM)
    strength = strength * float(rng.uniform(*FOLD_SPREAD))
    wet = np.clip((reach - depth) / 4, 0, 1) * ramp(at[2], -38, -20) * np.float32(strength)
    return wet.astype(np.float32), course


def _pial_vessels(
    course: np.ndarray, wet: np.ndarray, frame: Frame, at: tuple[np.ndarray, ...], rng: np.random.Generator
) -> np.ndarray:
    """Thin vessels that run in the folds: where the fold's sheet meets the zero set of another field."""
    other = sample(smooth_noise(rng, frame, 11.0), frame, at)
    return 0.9 * wet * np.exp(-((course / 0.22) ** 2) - (other / 0.16) ** 2)
