"""Template space: where a study's reference scan lies in MNI152, or in a template file of the user's."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field
from scipy import ndimage

from lesionlab.errors import InputError
from lesionlab.imaging.formats.nifti import read_volume
from lesionlab.imaging.mni import mni152
from lesionlab.imaging.registration.alignment import CheckOptions, Prepared
from lesionlab.imaging.registration.coregistration import CoregisterOptions, Ready, align
from lesionlab.imaging.registration.head import AIR, TOP_PERCENTILE, flattened, no_finer
from lesionlab.imaging.registration.initialise import SearchOptions
from lesionlab.imaging.resample import resample_like
from lesionlab.imaging.volume import Volume, same_grid

NATIVE, MNI152 = "native", "mni152"

_MNI_MM = 1.0
_WORK_MM = 2.0  # two brains never match more finely
_RIM = 2  # voxels around the brain that count: its outline tells most of its size


class TemplateOptions(BaseModel):
    """Whether a study stays where it was scanned or goes to a template, and how."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    space: str = Field(
        NATIVE, description="native, mni152, or the path of a skull-stripped NIfTI file (SRI24 for BraTS)", min_length=1
    )
    kind: Literal["rigid", "affine"] = Field(
        "affine", description="affine fits the template's size; rigid keeps the lesions' volumes"
    )
    brain_dice: float = Field(0.7, ge=0, le=1, description="of the two brains' overlap, at least; 0: not judged")
    edge_agreement: float = Field(
        0.39, ge=0, le=1, description="of the edges' directions, at least; 1/3 is chance; 0: not judged"
    )
    search: SearchOptions | None = Field(
        SearchOptions(), description="of all turns and translations, where the first start failed; null: none"
    )


@dataclass(frozen=True)
class InTemplate:
    """Where a study lies in template space.

    Attributes:
        matrix: ``(4, 4)`` float64, RAS mm of the reference scan -> RAS mm of the template.
        qc: ``template_brain_dice``, ``template_mi``, ``template_edge_agreement``, ``template_scale`` (volume in the
            template over volume in the scan), ``template_rotation_deg``, ``template_searched``.
    """

    matrix: np.ndarray
    qc: dict[str, float]

    @property
    def back(self) -> np.ndarray:
        """RAS mm of the template -> RAS mm of the reference scan: the first link of a chain that resamples a scan."""
        return np.linalg.inv(self.matrix)


def load_template(space: str) -> Volume | None:
    """The template an option names; None for ``native``.

    Raises:
        InputError: the file is missing or no volume.
    """
    if space == NATIVE:
        return None
    if space == MNI152:
        return mni152(_MNI_MM)["T1w"]
    if not Path(space).is_file():
        raise InputError(
            "there is no such template",
            given=space,
            allowed=f"{NATIVE}, {MNI152}, or the path of a NIfTI file",
            cure="correct `space`",
            file=space,
        )
    return read_volume(Path(space))


def to_template(reference: Volume, brain: Volume, template: Volume, options: TemplateOptions) -> InTemplate:
    """Find where a brain lies in a template, whatever the contrast of the two.

    Args:
        reference: the reference scan, with or without skull.
        brain: its brain mask, on its grid, above 0.
        template: a skull-stripped brain on any grid, 0 outside.
        options: see :class:`TemplateOptions`.

    Raises:
        InputError: the mask lies on another grid or is empty; the registration failed.
    """
    _check_mask(reference, brain)
    inside = template.like((template.data > AIR * np.percentile(template.data, TOP_PERCENTILE)).astype(np.uint8))
    inside = inside.like(ndimage.binary_fill_holes(inside.data).astype(np.uint8))
    search = CoregisterOptions(
        kind=options.kind,
        check=CheckOptions(peak_offset_mm=None, edge_agreement=options.edge_agreement),
        search=options.search,
    )
    found = align(_ready(reference, brain), _ready(template, inside), search)
    there = resample_like(inside, brain, matrix=found.matrix, interpolation="labels").data > 0
    own = brain.data > 0
    qc = {
        "template_brain_dice": float(2 * (there & own).sum() / max(there.sum() + own.sum(), 1)),
        "template_mi": found.qc["mi_after"],
        "template_edge_agreement": found.qc["edge_agreement"],
        "template_scale": float(abs(np.linalg.det(found.matrix[:3, :3]))),
        "template_rotation_deg": found.qc["rotation_deg"],
        "template_searched": found.qc["searched"],
    }
    _check_success(qc, options)
    return InTemplate(found.matrix, qc)


def _ready(volume: Volume, brain: Volume) -> Ready:
    """The brain alone, flattened, with a rim of nothing around it."""
    low = float(volume.data[brain.data > 0].min())
    alone = no_finer(volume.like(np.where(brain.data > 0, volume.data - low, 0).astype(np.float32)), _WORK_MM)
    mask = no_finer(brain.like((brain.data > 0).astype(np.float32)), _WORK_MM)
    inside = mask.data > 0.5
    flat = flattened(alone, CoregisterOptions().flatten_mm, mask.like(inside.astype(np.uint8)))
    wide = mask.like(ndimage.binary_dilation(inside, iterations=_RIM).astype(np.uint8))
    return Ready(alone, flat, wide, Prepared.of(flat, wide))


def _check_mask(reference: Volume, brain: Volume) -> None:
    if not same_grid(reference, brain) or not brain.data.any():
        raise InputError(
            "the brain mask does not fit the reference scan",
            given=f"shape {brain.shape}, {int((brain.data > 0).sum())} voxels",
            allowed=f"a brain on the scan's grid of shape {reference.shape}",
            cure="look at the mask",
        )


def _check_success(qc: dict[str, float], options: TemplateOptions) -> None:
    for name, least in (("brain_dice", options.brain_dice), ("edge_agreement", options.edge_agreement)):
        value = qc[f"template_{name}"]
        if value < least:
            raise InputError(
                "the study could not be brought to the template",
                given=f"{name} {value:.2f}",
                allowed=f"at least {least:g} (`{name}`)",
                cure="look at the brain mask and at the template (is it skull-stripped?), or allow less",
            )
