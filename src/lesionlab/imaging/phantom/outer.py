"""What lies around the brain: dura, skull with marrow, scalp, muscle, eyes, air-filled cavities, venous sinuses."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from lesionlab.imaging.phantom.fields import Frame, ramp, sigmoid, smooth_noise
from lesionlab.imaging.phantom.template import (
    AIR,
    CANAL_MM,
    CORD,
    CORD_MM,
    EYES,
    ORBITS,
    SPINE_MM,
    TEMPLE,
    VERTEBRA,
    ellipsoid,
)

EDGE_MM = 0.7  # softness of the borders
WATER_MM = (-0.7, 1.9)  # subarachnoid space outside the cortex
BONE_FROM_MM = 1.6  # beneath it, water and dura
SKULL_MM = (4.5, 8.0)
TABLE_MM = 1.6  # compact bone on either side of the marrow
SKIN_MM = 1.8
FAT_MM = (1.5, 5.5)
OUTER = ("dura", "bone", "marrow", "fat", "soft", "eye")


@dataclass(frozen=True)
class Layers:
    """Distances that define the layers of a head.

    Attributes:
        frame: voxels of the head.
        points: where in the template each voxel comes from, mm.
        outside: signed distance to the brain's surface, mm.
        skin: signed distance to the skin, mm, negative inside.
    """

    frame: Frame
    points: tuple[np.ndarray, np.ndarray, np.ndarray]
    outside: np.ndarray
    skin: np.ndarray


def _between(noise: np.ndarray, bounds: tuple[float, float]) -> np.ndarray:
    return np.float32(bounds[0]) + np.float32(bounds[1] - bounds[0]) * sigmoid(1.5 * noise)


def add_outer_tissues(tissues: dict[str, np.ndarray], layers: Layers, rng: np.random.Generator) -> None:
    """Add the tissues in ``OUTER`` to the brain's, and water and blood between brain and skull, in place."""
    frame = layers.frame
    water = _between(smooth_noise(rng, frame, 10.0), WATER_MM)
    skull = _between(smooth_noise(rng, frame, 35.0), SKULL_MM)
    # Beneath the cranial base the skull is thin and the space is filled by muscle, fat and air.
    z = layers.frame.axes()[2]
    vault = ramp(z, -62, -35)
    skull = BONE_FROM_MM + skull * (0.45 + 0.55 * vault)
    depth = layers.outside
    body = sigmoid(-(layers.skin - rng.uniform(-1.5, 2.5)) / EDGE_MM)
    brain = sum(tissues.values())
    rest = np.clip(1 - brain, 0, 1) * body
    left = {
        "csf": sigmoid((water - depth) / EDGE_MM),
        "dura": sigmoid((np.maximum(water, 0.3) + 0.9 - depth) / EDGE_MM),
        "bone": sigmoid((skull - depth) / EDGE_MM),
    }
    marrow = sigmoid((depth - BONE_FROM_MM - TABLE_MM) / EDGE_MM) * sigmoid((skull - TABLE_MM - depth) / EDGE_MM)
    shells = _scalp(layers, rng)
    _fill(tissues, rest, left, marrow * (0.35 + 0.65 * vault), shells)
    _cavities(tissues, layers, rng)
    _sagittal_sinus(tissues, layers, water)


def _fill(
    tissues: dict[str, np.ndarray],
    rest: np.ndarray,
    left: dict[str, np.ndarray],
    marrow: np.ndarray,
    shells: dict[str, np.ndarray],
) -> None:
    """Share what is left of every voxel among the layers, from the inside out."""
    for name, share in left.items():
        part = rest * share
        tissues[name] = tissues.get(name, 0) + part
        rest = rest - part
    tissues["marrow"] = tissues["bone"] * marrow
    tissues["bone"] = tissues["bone"] - tissues["marrow"]
    for name, share in shells.items():
        tissues[name] = rest * share


def _scalp(layers: Layers, rng: np.random.Generator) -> dict[str, np.ndarray]:
    """Fat beneath the skin, muscle elsewhere, streaked by fat."""
    frame = layers.frame
    under = -layers.skin
    thick = _between(smooth_noise(rng, frame, 30.0), FAT_MM)
    fat = sigmoid((under - SKIN_MM) / EDGE_MM) * sigmoid((SKIN_MM + thick - under) / (1.5 * EDGE_MM))
    streaks = sigmoid((smooth_noise(rng, frame, 8.0) - 1.0) * 3)
    temple = ramp(ellipsoid(list(layers.points), TEMPLE), 2, -4)
    vault = ramp(frame.axes()[2], -30, 0) * (1 - temple)
    # On the vault all of the scalp's depth is fat but for the skin; below it, muscle.
    deep = sigmoid((under - SKIN_MM) / EDGE_MM) * (0.85 * vault + 0.7 * (1 - vault) * streaks)
    fat = np.maximum(fat, deep).astype(np.float32)
    return {"fat": fat, "soft": 1 - fat}


def _cavities(tissues: dict[str, np.ndarray], layers: Layers, rng: np.random.Generator) -> None:
    """Orbits with eyes, and cavities of air, wherever no brain or skull roof is."""
    axes = [np.ascontiguousarray(p) for p in layers.points]
    free = sigmoid((layers.outside - 3.0) / EDGE_MM)
    orbit = sigmoid(-ellipsoid(axes, ORBITS) / EDGE_MM) * free
    eye = sigmoid(-ellipsoid(axes, EYES) / EDGE_MM) * free
    body = sum(tissues.values())
    _replace(tissues, "fat", 0.8 * orbit * body)
    _replace(tissues, "eye", eye * body)
    cells = sigmoid((smooth_noise(rng, layers.frame, 5.0) + 0.7) * 4)
    for shape in AIR:
        hollow = sigmoid(-ellipsoid(axes, shape) / EDGE_MM) * free * (0.15 + 0.85 * cells)
        _replace(tissues, "air", hollow)
    _spine(tissues, axes, free * body)
    del tissues["air"]  # air is what is missing


def _spine(tissues: dict[str, np.ndarray], axes: list[np.ndarray], free: np.ndarray) -> None:
    """Spinal cord, its water and a ring of bone, below the template's end, with a vertebral body before them."""
    (x0, y0, z0), (_, y1, z1) = CORD
    x, y, z = axes
    off = np.sqrt((x - x0) ** 2 + (y - y0 - (z - z0) * ((y1 - y0) / (z1 - z0))) ** 2)
    below = free * sigmoid((z0 + 3 - z) / 1.5)
    _replace(tissues, "bone", sigmoid((SPINE_MM - off) / EDGE_MM) * below * 0.8)
    _replace(tissues, "marrow", sigmoid(-ellipsoid(axes, VERTEBRA) / EDGE_MM) * below)
    _replace(tissues, "csf", sigmoid((CANAL_MM - off) / EDGE_MM) * below)
    _replace(tissues, "wm", sigmoid((CORD_MM - off) / EDGE_MM) * below)


def _replace(tissues: dict[str, np.ndarray], name: str, share: np.ndarray) -> None:
    for other in tissues:
        tissues[other] = tissues[other] * (1 - share)
    tissues[name] = tissues.get(name, 0) + share


def _sagittal_sinus(tissues: dict[str, np.ndarray], layers: Layers, water: np.ndarray) -> None:
    """The superior sagittal sinus: a triangle in the dura along the midline of the vault."""
    x, y, z = layers.points
    above = (layers.outside - water) / 4.0
    triangle = ramp(abs(x) / 6.0 - above, 0.9, 0.3) * ramp(above, -0.8, -0.2) * ramp(above, 1.4, 0.9)
    along = ramp(z, -8, 8) * ramp(y, 62, 40)
    _replace(tissues, "blood", (triangle * along).astype(np.float32))
