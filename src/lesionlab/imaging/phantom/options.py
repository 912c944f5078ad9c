"""What can be chosen about the phantom cohort."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

SequenceName = Literal["T1w", "T1ce", "T2w", "FLAIR", "APTw"]
SEQUENCES: tuple[SequenceName, ...] = ("T1w", "T1ce", "T2w", "FLAIR", "APTw")

# Codes of the lesion volume and of the label map: 2.. in the order edema, cavity, tumor.
LESION_CODES: dict[str, int] = {"edema": 2, "cavity": 3, "tumor": 4}
NORMAL_CODE = 1

Range = tuple[float, float]
Side = Literal["top", "bottom", "middle", "left", "right"]


class Coverage(BaseModel):
    """A scan that sees a part of the head: a slab of its planes, or one side."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    kept: float = Field(gt=0, le=1, description="part of the field of view that is scanned")
    side: Side = Field("top", description="where that part lies; left and right are the subject's")


class PhantomOptions(BaseModel):
    """The phantom cohort: how many subjects, how they are scanned, how much they differ."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    subjects: int = Field(24, ge=1, description="subjects in the cohort, phantom-01 and on")
    sequences: tuple[SequenceName, ...] = Field(SEQUENCES, description="sequences of a subject, in order")
    reference: SequenceName = Field("T1w", description="the sequence on whose grid lesion and truth lie")

    work_mm: float = Field(1.5, gt=0.5, le=4, description="voxel of the head before it is scanned, mm")
    in_plane_mm: float = Field(2.0, ge=0.8, le=6, description="pixel of a scan, mm (each sequence a little off)")
    slice_mm: float = Field(5.0, ge=1, le=12, description="slice thickness of a scan, mm (each sequence a little off)")

    noise: float = Field(0.02, ge=0, le=0.3, description="Rician noise, part of white matter's signal")
    bias: Range = Field((0.15, 0.30), description="half range of the bias field, least and most")
    gain: Range = Field((250.0, 900.0), description="white matter's intensity on T1w, least and most")
    gamma: Range = Field((0.92, 1.08), description="exponent of the intensities, least and most")
    rotation_deg: float = Field(3.0, ge=0, le=45, description="largest turn of a scan about each axis, degrees")
    shift_mm: float = Field(3.0, ge=0, le=60, description="largest shift of a scan along each axis, mm")
    field_follows: bool = Field(
        False, description="the field of view is laid on the moved head, so that large moves cut nothing off"
    )
    coverage: dict[SequenceName, Coverage] = Field({}, description="sequences that see a part of the head")
    oblique_deg: float = Field(6.0, ge=0, le=20, description="largest tilt of a scan's slices, degrees")

    deformation_mm: float = Field(2.6, ge=0, le=6, description="smooth deformation of the anatomy, RMS, mm")
    scale: float = Field(0.06, ge=0, le=0.15, description="largest change of the head's size along an axis")
    ventricles_mm: Range = Field((-1.0, 5.5), description="how far the ventricles' walls move outwards, mm")
    folding: float = Field(1.0, ge=0, le=2, description="strength of each subject's own cortical folds")

    small_share: float = Field(0.25, ge=0, le=1, description="part of the subjects with a small lesion")
    several_share: float = Field(0.3, ge=0, le=1, description="part of the subjects with more than one lesion")
    mass_effect: float = Field(1.0, ge=0, le=1.5, description="strength of the displacement by a lesion")

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.reference not in self.sequences:
            raise ValueError(f"reference '{self.reference}' is not one of the sequences {list(self.sequences)}; add it")
        if len(set(self.sequences)) != len(self.sequences):
            raise ValueError(f"sequences {list(self.sequences)} name one twice; name each once")
        for name in ("bias", "gain", "gamma", "ventricles_mm"):
            low, high = getattr(self, name)
            if low > high:
                raise ValueError(f"{name} {low, high} has its ends swapped; give the lesser first")
        return self
