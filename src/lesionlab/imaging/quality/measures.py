"""What the quality measures mean: which side of each is bad, what spread of it matters, and where to look."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Literal

Bad = Literal["low", "high", "both", "none"]


@dataclass(frozen=True)
class Known:
    """One measure, or a family of them.

    Attributes:
        stage: the stage it belongs to; ``*`` any.
        measure: its name; ``*`` stands for a sequence.
        bad: which side of the cohort is suspicious. ``none``: it describes, and is never held against a study.
        grain: a spread below which studies do not differ in a way that matters; distances are measured with it at
            least, so that a cohort that is alike in all else has no outliers by hair's breadths.
        meaning: what it is, in a clause.
        look: what to look at where it is off.
    """

    stage: str
    measure: str
    bad: Bad
    grain: float
    meaning: str
    look: str


_ALIGNED = "the reference's edges over the sequence"
_MASK = "the mask's outline on the aligned scans"
_BIAS = "the bias columns: before, after, and the log field"
_RAW = "the aligned scans"
_SCALE = "the standardized scans"
_LESION = "the lesion's outline"
_TISSUE = "the tissue map"
_ATLAS = "the atlas beside the standardized scans"

KNOWN: tuple[Known, ...] = (
    Known("coregister", "*_mi_gain", "low", 0.1, "mutual information after over before registration", _ALIGNED),
    Known("coregister", "*_mi_before", "none", 0.05, "mutual information before registration, nats", _ALIGNED),
    Known("coregister", "*_mi_after", "low", 0.05, "mutual information after registration, nats", _ALIGNED),
    Known("coregister", "*_rotation_deg", "none", 1.0, "turn that registration found, degrees", _ALIGNED),
    Known("coregister", "*_translation_mm", "none", 1.0, "shift that registration found, mm", _ALIGNED),
    Known(
        "coregister", "*_peak_offset_mm", "high", 0.5, "distance of the best match from the pose found, mm", _ALIGNED
    ),
    Known("coregister", "*_edge_agreement", "low", 0.04, "agreement of edges as registration left them", _ALIGNED),
    Known("coregister", "*_overlap", "none", 0.05, "share of the head that both scans see", _ALIGNED),
    Known("coregister", "*_searched", "none", 0.5, "whether registration had to search for its start", _ALIGNED),
    Known("grid", "template_*", "none", 0.05, "registration to the template space", _ALIGNED),
    Known("grid", "template_edge_agreement", "low", 0.05, "edges of the template and the scan agree", _ALIGNED),
    Known("grid", "template_brain_dice", "low", 0.02, "overlap of the brain with the template's", _ALIGNED),
    Known(
        "coregister", "*_edge_similarity", "low", 0.04, "agreement of edge directions with the reference's", _ALIGNED
    ),
    Known("coregister", "*_edge_offset_mm", "high", 0.5, "distance of edges from the reference's, mm", _ALIGNED),
    Known(
        "coregister",
        "*_mirror_margin",
        "low",
        0.05,
        "how much better edges agree with the reference than with its mirror image",
        "whether left and right are swapped, or the scan is another person's",
    ),
    Known("coregister", "*_coverage", "low", 0.01, "share of the brain within the scan's field of view", _RAW),
    Known("coregister", "*_snr", "low", 3.0, "signal over noise in the brain", _RAW),
    Known("coregister", "lesion_ml", "none", 1.0, "volume of the lesion, ml", _LESION),
    Known("coregister", "lesion_outside", "high", 0.02, "share of the lesion outside the brain mask", _LESION),
    Known("coregister", "lesion_contrast", "low", 0.2, "contrast of the lesion to its surroundings", _LESION),
    Known(
        "coregister",
        "lesion_mirror_margin",
        "low",
        0.25,
        "contrast of the lesion less that of its place in the mirror",
        "whether the lesion mask lies on the wrong side",
    ),
    Known(
        "coregister", "lesion_offset_mm", "high", 2.0, "shift at which the lesion mask finds most contrast, mm", _LESION
    ),
    Known("brain", "brain_ml", "both", 90.0, "volume of the brain mask, ml", _MASK),
    Known("brain", "brain_fraction", "none", 0.02, "share of the field of view that is brain", _MASK),
    Known("brain", "touches_border", "high", 0.01, "share of the mask on the field of view's border", _MASK),
    Known("brain", "sphericity", "both", 0.015, "roundness of the mask; 1 is a ball", _MASK),
    Known("brain", "solidity", "low", 0.004, "volume of the mask over its convex hull's", _MASK),
    Known("brain", "bite_mm", "high", 0.8, "radius of the largest ball missing from the mask's convex hull, mm", _MASK),
    Known("brain", "pieces", "none", 0.5, "pieces of the mask as it was found", _MASK),
    Known("brain", "removed_fraction", "high", 0.01, "share of the mask found that lay in other pieces", _MASK),
    Known("brain", "filled_fraction", "high", 0.01, "holes of the mask found, as a share of it", _MASK),
    Known("brain", "brain_over_head", "both", 0.05, "volume of the brain over the head's", _MASK),
    Known("brain", "cut_fraction", "high", 0.1, "brain on a face of the field of view over its largest area", _MASK),
    Known("brain", "empty_fraction", "high", 0.01, "share of the mask where the scan is exactly 0", _MASK),
    Known("brain", "symmetry", "low", 0.02, "overlap of the mask with its mirror image, as extraction left it", _MASK),
    Known("brain", "stray_share", "high", 0.002, "share of the mask outside its largest piece", _MASK),
    Known("brain", "holes_share", "high", 0.002, "holes of the mask, as a share of it", _MASK),
    Known("brain", "cut_top", "high", 0.05, "brain in the topmost plane over that in the largest", _MASK),
    Known("brain", "cut_bottom", "high", 0.1, "brain in the lowest plane over that in the largest", _MASK),
    Known("brain", "mirror_overlap", "low", 0.02, "overlap of the mask with its mirror image", _MASK),
    Known("brain", "image_symmetry", "none", 0.1, "correlation of the brain with its mirror image", _MASK),
    Known("brain", "rim_distance", "high", 0.02, "how unlike others' the scan is along the mask's surface", _MASK),
    Known("bias", "*_bias_range", "high", 0.15, "range of the bias field found, log units", _BIAS),
    Known("bias", "*_cv_before", "none", 0.02, "variation of the brain's intensities before correction", _BIAS),
    Known("bias", "*_cv_after", "high", 0.02, "variation of the brain's intensities after correction", _BIAS),
    Known("bias", "*_cv_gain", "high", 0.1, "variation of the intensities after correction over before", _BIAS),
    Known("bias", "*_snr", "low", 3.0, "signal over noise of the scan as it came", _RAW),
    Known("bias", "*_covered", "low", 0.01, "share of the brain that the scan saw", _RAW),
    Known("bias", "*_unevenness", "high", 0.01, "drift of white matter's intensity over the brain, log units", _BIAS),
    Known("bias", "*_unevenness_ratio", "high", 0.3, "that drift after correction over before", _BIAS),
    Known("standardize", "*_clipped_fraction", "high", 0.01, "share of the brain cut off by the scale", _SCALE),
    Known("standardize", "*_brain_mean", "none", 0.03, "mean of the standardized brain", _SCALE),
    Known("standardize", "*_brain_std", "none", 0.03, "spread of the standardized brain", _SCALE),
    Known(
        "standardize",
        "*_scale_distance",
        "high",
        0.01,
        "distance of the percentiles from the cohort's median",
        _SCALE,
    ),
    Known("standardize", "*_landmark_distance", "high", 0.01, "distance of its landmarks from the standard", _SCALE),
    Known("grid", "cropped_fraction", "high", 0.002, "share of the brain that fell off the grid", _SCALE),
    Known("grid", "brain_kept", "both", 0.02, "brain on the grid over brain before", _SCALE),
    Known("grid", "cut_sides", "high", 0.05, "brain at the grid's sides over the largest parallel plane's", _SCALE),
    Known("atlas", "*_correlation", "low", 0.06, "correlation of the aligned atlas with the scan", _ATLAS),
    Known("atlas", "brain_overlap", "low", 0.01, "overlap of the atlas's brain with the study's", _ATLAS),
    Known("atlas", "jacobian_*", "none", 0.1, "least and largest change of volume by the warp", _ATLAS),
    Known("atlas", "overlap", "low", 0.01, "overlap of atlas and brain mask", _ATLAS),
    Known("atlas", "edge_similarity", "low", 0.04, "agreement of the atlas's edge directions with the scan's", _ATLAS),
    Known("atlas", "edge_offset_mm", "high", 0.8, "distance of the atlas's edges from the scan's, mm", _ATLAS),
    Known("tissues", "*_ml", "none", 30.0, "volume of the tissue, ml", _TISSUE),
    Known("tissues", "template_correlation", "low", 0.04, "correlation of the template with the scan", _TISSUE),
    Known("tissues", "template_overlap", "low", 0.02, "overlap of the template's brain with the study's", _TISSUE),
    Known("tissues", "jacobian_*", "none", 0.1, "least and largest change of volume by the template's warp", _TISSUE),
    Known("tissues", "csf_share", "both", 0.03, "water as a share of all tissue", _TISSUE),
    Known("tissues", "gm_share", "both", 0.03, "gray matter as a share of all tissue", _TISSUE),
    Known("tissues", "wm_share", "both", 0.03, "white matter as a share of all tissue", _TISSUE),
    Known("tissues", "wm_deeper_mm", "low", 1.2, "how much deeper white matter lies than gray, mm", _TISSUE),
    Known(
        "tissues", "gm_place", "both", 0.06, "gray matter's intensity between water (0) and white matter (1)", _TISSUE
    ),
    Known("tissues", "without_tissue", "high", 0.02, "share of the brain without tissue", _TISSUE),
)

#: A measure of no known kind: either side counts.
UNKNOWN = Known("*", "*", "both", 0.0, "", "the study's pictures")

#: Measures that are the quotient of two that a stage reports: ending -> endings of numerator and denominator.
RATIOS: Mapping[str, tuple[str, str]] = {
    "_mi_gain": ("_mi_after", "_mi_before"),
    "_cv_gain": ("_cv_after", "_cv_before"),
}


def known(stage: str, measure: str) -> Known:
    """What is known of a measure; :data:`UNKNOWN` where nothing is."""
    fitting = (one for one in KNOWN if one.stage == stage and fnmatchcase(measure, one.measure))
    return max(fitting, key=lambda one: len(one.measure), default=UNKNOWN)


def with_ratios(measures: Mapping[str, float]) -> dict[str, float]:
    """A stage's measures of one study with the quotients among them; none where the denominator is 0."""
    found = dict(measures)
    for ending, (above, below) in RATIOS.items():
        for name, value in measures.items():
            base = name.removesuffix(above)
            if base != name and measures.get(base + below) and base + ending not in measures:
                found[base + ending] = value / measures[base + below]
    return found
