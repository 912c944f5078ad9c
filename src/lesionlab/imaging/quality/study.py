"""All quality measures of one study, from the volumes its stages left."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from functools import cached_property

import numpy as np

from lesionlab.imaging.quality import edges, intensity, lesions, masks, symmetry
from lesionlab.imaging.quality import tissues as tissue
from lesionlab.imaging.quality.lattice import Lattice, lattice_around
from lesionlab.imaging.volume import Volume, same_grid

Stages = Mapping[str, Mapping[str, Volume]]
Measures = dict[str, float]

BRAIN, LESION, FIELD = "brain", "lesion", "field_"
LESION_FREE = 0.1  # share of lesion up to which a voxel counts as normal tissue
ATLAS_FLOOR = 0.05  # part of the template's range that is still background
SMALLEST_LESION_ML = 0.5  # a smaller one has too few voxels to say where it lies


def measure_study(stages: Stages, reference: str, wanted: Collection[str] | None = None) -> dict[str, Measures]:
    """Measures by stage; what a stage did not leave is not measured.

    Args:
        stages: stage -> name -> volume, as the stages ``coregister``, ``brain``, ``bias``, ``grid``, ``atlas`` and
            ``tissues`` keep them.
        reference: the sequence the others were aligned to.
        wanted: stages to measure; all by default.

    Returns:
        see :data:`lesionlab.imaging.quality.measures.KNOWN` for what each means. Empty where there is no brain mask.
    """
    brain = stages.get("brain", {}).get(BRAIN)
    if brain is None or not np.any(brain.data > 0) or reference not in stages.get("coregister", {}):
        return {}
    view = _View(stages, reference, brain)
    parts: dict[str, Callable[[], Measures]] = {
        "coregister": lambda: view.scans() | view.alignment() | view.lesion(),
        "brain": view.mask,
        "bias": view.evenness,
        "grid": view.grid,
        "atlas": view.atlas,
        "tissues": view.tissues,
    }
    return {stage: part() for stage, part in parts.items() if wanted is None or stage in wanted}


def study_profiles(stages: Stages, reference: str) -> dict[str, list[list[float]]]:
    """By ``<stage>/<measure>``, the profiles that :func:`profiles.profile_distances` compares with the cohort's.

    ``standardize/<sequence>_scale_distance``: the percentiles of the standardized brain. ``brain/rim_distance``: the
    reference scan's brightness along the distance from the mask's surface.
    """
    volumes = stages.get("standardize", {})
    found = {
        f"standardize/{name}_scale_distance": [intensity.percentiles(volumes[name], volumes[BRAIN])]
        for name in _images(volumes)
    }
    brain, scan = stages.get("brain", {}).get(BRAIN), stages.get("coregister", {}).get(reference)
    if brain is not None and scan is not None and np.any(brain.data > 0):
        lattice = lattice_around(brain)
        found["brain/rim_distance"] = masks.rim_profile(lattice.sampled(scan), brain, lattice)
    return found


def _images(volumes: Mapping[str, Volume]) -> list[str]:
    if BRAIN not in volumes:
        return []
    return [name for name in volumes if name not in (BRAIN, LESION) and not name.startswith(FIELD)]


class _View:
    """One study on the lattice around its brain."""

    def __init__(self, stages: Stages, reference: str, brain: Volume) -> None:
        self.stages, self.reference, self.brain = stages, reference, brain
        self.lattice: Lattice = lattice_around(brain)

    @cached_property
    def sequences(self) -> dict[str, Volume]:
        aligned = self.stages["coregister"]
        return {name: aligned[name] for name in aligned if name not in (BRAIN, LESION)}

    @cached_property
    def images(self) -> dict[str, np.ndarray]:
        return {name: self.lattice.sampled(volume) for name, volume in self.sequences.items()}

    @cached_property
    def fixed(self) -> np.ndarray:
        return edges.directions(self.images[self.reference], self.lattice)

    @cached_property
    def plane(self) -> np.ndarray:
        return symmetry.mid_plane(self.images[self.reference], self.lattice)

    @cached_property
    def lesion_share(self) -> np.ndarray | None:
        mask = self.stages["coregister"].get(LESION)
        return None if mask is None or not np.any(mask.data > 0) else self.lattice.share(mask)

    @cached_property
    def tissue_maps(self) -> dict[str, np.ndarray]:
        maps = self.stages.get("tissues", {})
        there = all(name in maps for name in tissue.TISSUES)
        return {name: self.lattice.sampled(maps[name]) for name in tissue.TISSUES} if there else {}

    def scans(self) -> Measures:
        found = {}
        for name, volume in self.sequences.items():
            if same_grid(volume, self.brain):
                found[f"{name}_coverage"] = intensity.coverage(volume, self.brain)
                found[f"{name}_snr"] = intensity.signal_to_noise(volume, self.brain)
        return {name: value for name, value in found.items() if not np.isnan(value)}

    def alignment(self) -> Measures:
        found: Measures = {}
        for name in self.sequences:
            if name != self.reference:
                found |= {f"{name}_{key}": value for key, value in self._edges(self.images[name]).items()}
        return found

    def _edges(self, image: np.ndarray) -> Measures:
        brain, step = self.lattice.brain, self.lattice.step
        moving = edges.directions(image, self.lattice)
        turned = edges.directions(symmetry.mirrored(image, self.lattice, self.plane), self.lattice)
        own = edges.agreement(self.fixed, moving, brain, step)
        other = edges.agreement(self.fixed, turned, brain, step)
        return {
            "edge_similarity": own.here,
            "edge_offset_mm": edges.edge_offset(self.fixed, moving, brain, step),
            "mirror_margin": own.score - other.score,
        }

    def lesion(self) -> Measures:
        share = self.lesion_share
        if share is None:
            return {}
        mask = self.stages["coregister"][LESION]
        lesion = mask.data > 0
        found = {"lesion_ml": float(np.count_nonzero(lesion) * mask.voxel_ml)}
        if same_grid(mask, self.brain):
            found["lesion_outside"] = float((self.brain.data[lesion] == 0).mean())
        if found["lesion_ml"] < SMALLEST_LESION_ML:
            return found
        other = symmetry.mirrored(share, self.lattice, self.plane)
        fit = lesions.lesion_fit(self.images, share, other, self.lattice)
        return found | {
            "lesion_contrast": fit.contrast,
            "lesion_mirror_margin": fit.contrast - fit.mirror_contrast,
            "lesion_offset_mm": fit.offset_mm,
        }

    def mask(self) -> Measures:
        image = self.images[self.reference]
        both = {
            "mirror_overlap": symmetry.mask_symmetry(self.lattice.brain, self.lattice, self.plane),
            "image_symmetry": symmetry.image_symmetry(image, self.lattice, self.plane),
        }
        return masks.mask_shape(self.brain, self.lattice) | both

    def evenness(self) -> Measures:
        after = self.stages.get("bias", {})
        if not self.tissue_maps:
            return {}
        white = self.tissue_maps["WM"]
        if self.lesion_share is not None:
            white = np.where(self.lesion_share < LESION_FREE, white, 0)
        found = {}
        for name, image in self.images.items():
            if f"{FIELD}{name}" in after:
                even = intensity.unevenness(self.lattice.sampled(after[name]), white, self.lattice)
                found[f"{name}_unevenness"] = even
                before = intensity.unevenness(image, white, self.lattice)
                if before > 0:
                    found[f"{name}_unevenness_ratio"] = even / before
        return found

    def grid(self) -> Measures:
        mask = self.stages.get("grid", {}).get(BRAIN)
        if mask is None:
            return {}
        left = np.count_nonzero(mask.data > 0) * mask.voxel_ml
        there = np.count_nonzero(self.brain.data > 0) * self.brain.voxel_ml
        return {"brain_kept": float(left / there), "cut_sides": masks.cut_sides(mask)}

    def atlas(self) -> Measures:
        volume = self.stages.get("atlas", {}).get(self.reference)
        if volume is None:
            return {}
        image = self.lattice.sampled(volume, fill=float(volume.data.min()))
        low, high = float(image.min()), float(image.max())
        shape = image > low + ATLAS_FLOOR * (high - low)
        brain, step = self.lattice.brain, self.lattice.step
        moving = edges.directions(image, self.lattice)
        return {
            "overlap": float(2 * np.count_nonzero(shape & brain) / (np.count_nonzero(shape) + np.count_nonzero(brain))),
            "edge_similarity": edges.agreement(self.fixed, moving, brain, step).here,
            "edge_offset_mm": edges.edge_offset(self.fixed, moving, brain, step),
        }

    def tissues(self) -> Measures:
        if not self.tissue_maps:
            return {}
        lesion = None if self.lesion_share is None else self.lesion_share >= LESION_FREE
        return tissue.tissue_measures(self.tissue_maps, self.images[self.reference], self.lattice, lesion)
