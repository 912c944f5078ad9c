"""The judge: which quality measures are out of bounds, and what becomes of the study."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Hashable, Mapping
from fnmatch import fnmatchcase
from functools import partial
from typing import Literal, Self

import pandas as pd
from pydantic import BaseModel, ConfigDict, Field, model_validator

from lesionlab.imaging.quality.measures import Known, known, with_ratios
from lesionlab.imaging.quality.outliers import robust_z

Action = Literal["warn", "quarantine"]

#: Opens the reason of a study that a limit holds back, so that it is told from one that failed.
HELD_BACK = "held back: "

MEASURE_COLUMNS = ["study", "subject", "stage", "measure", "value"]
FLAG_COLUMNS = [*MEASURE_COLUMNS, "allowed", "kind", "z", "action", "why", "look"]


class Limit(BaseModel):
    """What is allowed of a measure."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    min: float | None = Field(None, description="least value allowed")
    max: float | None = Field(None, description="largest value allowed")
    action: Action = Field("warn", description="warn: the page names the study; quarantine: the run leaves it out")

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.min is None and self.max is None:
            raise ValueError("a limit allows everything: give min, max or both")
        if self.min is not None and self.max is not None and self.min > self.max:
            raise ValueError(f"min {self.min:g} lies above max {self.max:g}: no value would be allowed")
        return self

    def broken(self, value: float) -> bool:
        """Whether a value lies outside; NaN does."""
        low, high = -math.inf if self.min is None else self.min, math.inf if self.max is None else self.max
        return not low <= value <= high

    def __str__(self) -> str:
        if self.min is None or self.max is None:
            return f"at least {self.min:g}" if self.min is not None else f"at most {self.max:g}"
        return f"{self.min:g} to {self.max:g}"


#: Chosen on the phantom's training subjects and real scans; see docs/quality.md.
DEFAULT_LIMITS: dict[str, dict[str, Limit | None]] = {
    "coregister": {
        "*_mi_gain": Limit(min=0.8, action="quarantine"),
        "*_edge_offset_mm": Limit(max=3.0),
        "*_mirror_margin": Limit(min=0.03),
        "*_coverage": Limit(min=0.97),
        "lesion_outside": Limit(max=0.2),
        "lesion_mirror_margin": Limit(min=0.0),
    },
    "brain": {
        "brain_ml": Limit(min=500.0, max=2500.0, action="quarantine"),
        "stray_share": Limit(max=0.02),
        "holes_share": Limit(max=0.02),
        "bite_mm": Limit(max=9.0),
        "cut_top": Limit(max=0.15),
        "mirror_overlap": Limit(min=0.8),
    },
    "bias": {"*_unevenness_ratio": Limit(max=1.3)},
    "grid": {"brain_kept": Limit(min=0.95, max=1.05), "cut_sides": Limit(max=0.1)},
    "atlas": {"overlap": Limit(min=0.85), "edge_offset_mm": Limit(max=5.0)},
    "tissues": {
        "csf_share": Limit(min=0.03, max=0.4),
        "gm_share": Limit(min=0.35, max=0.7),
        "wm_share": Limit(min=0.2, max=0.5),
        "wm_deeper_mm": Limit(min=1.0),
        "without_tissue": Limit(max=0.15),
    },
}


class QCOptions(BaseModel):
    """What quality control allows, and what it does about the rest."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    limits: dict[str, dict[str, Limit | None]] = Field(
        {}, description="stage -> measure (* stands for anything) -> limit; laid over the defaults, null takes one away"
    )
    outlier_z: float = Field(3.5, gt=0, description="robust standard deviations from the median that make an outlier")
    outliers: Action = Field("warn", description="what becomes of outliers")

    def limit(self, stage: str, measure: str) -> Limit | None:
        """The limit of a measure: the one that names it most exactly."""
        found = DEFAULT_LIMITS.get(stage, {}) | self.limits.get(stage, {})
        fitting = [pattern for pattern in found if fnmatchcase(measure, pattern)]
        return found[max(fitting, key=lambda pattern: (pattern == measure, len(pattern)))] if fitting else None


def judge(stage: str, options: QCOptions) -> Callable[[Mapping[str, float]], str | None]:
    """A function from a study's measures at a stage to the reason why it is held back, or ``None``."""
    return partial(_judged, stage, options)


def _judged(stage: str, options: QCOptions, measures: Mapping[str, float]) -> str | None:
    broken = []
    for name, value in with_ratios(measures).items():
        limit = options.limit(stage, name)
        if limit is not None and limit.action == "quarantine" and limit.broken(value):
            broken.append(f"{name} is {value:.4g}, allowed is {limit} ({_clause(known(stage, name))})")
    if not broken:
        return None
    return (
        f"{HELD_BACK}{'; '.join(broken)}. Cure: look at the study's pictures on the QC page and mend the scan or the "
        f"stage's options, leave the study out, or change `quality.limits.{stage}`"
    )


def _clause(about: Known) -> str:
    return f"{about.meaning}; look at {about.look}" if about.meaning else f"look at {about.look}"


def judged_measures(
    measures: pd.DataFrame, options: QCOptions, training: Collection[str] | None = None
) -> pd.DataFrame:
    """The measures with what the judge makes of them.

    Args:
        measures: :data:`MEASURE_COLUMNS`; one row per study, stage and measure.
        options: see :class:`QCOptions`.
        training: studies of the training split. Where outliers are left out, these alone say what is usual, so that no
            test study decides on which others are learnt from.

    Returns:
        further columns ``median`` (of all studies, or of those), ``z`` (robust distance, with its sign), ``outlier``
        (whether it lies out on the side that is bad) and ``broken`` (whether a limit is).
    """
    table = measures.assign(value=measures["value"].astype(float))
    decide = training is not None and options.outliers == "quarantine"
    usual = table["study"].isin(training or ()) if decide else pd.Series(True, index=table.index)
    parts = [_group(rows, usual[rows.index], options) for _, rows in table.groupby(["stage", "measure"], sort=False)]
    added = {"median": float, "z": float, "outlier": bool, "broken": bool}
    if not parts:
        return table.assign(**{name: pd.Series(dtype=kind) for name, kind in added.items()})
    return pd.concat(parts).loc[table.index]


def _group(rows: pd.DataFrame, usual: pd.Series, options: QCOptions) -> pd.DataFrame:
    stage, measure = str(rows["stage"].iloc[0]), str(rows["measure"].iloc[0])
    about, limit = known(stage, measure), options.limit(stage, measure)
    finite = rows["value"][rows["value"].map(math.isfinite) & usual]
    z = pd.Series(robust_z(rows["value"].to_numpy(), about.grain, usual.to_numpy()), index=rows.index)
    side = {"low": -z, "high": z, "both": z.abs(), "none": z * 0}[about.bad]
    missing = rows["value"].isna() & (about.bad != "none")
    broken = rows["value"].map(limit.broken) if limit is not None else pd.Series(False, index=rows.index)
    return rows.assign(
        median=finite.median(), z=z, outlier=(side > options.outlier_z) | missing, broken=broken.astype(bool)
    )


def flags(judged: pd.DataFrame, options: QCOptions) -> pd.DataFrame:
    """One row per measure that is out of bounds: :data:`FLAG_COLUMNS`, studies in their order, the worst first.

    ``kind`` is ``limit`` or ``outlier``; a measure that is both is told once, by its limit.
    """
    rows = [_flag(row, options) for row in judged[judged["broken"] | judged["outlier"]].to_dict("records")]
    table = pd.DataFrame(rows, columns=FLAG_COLUMNS)
    order = {study: at for at, study in enumerate(dict.fromkeys(judged["study"]))}
    table["_study"], table["_far"] = table["study"].map(order), -table["z"].astype(float).abs()
    table["_kind"] = (table["kind"] != "limit").astype(int)
    return table.sort_values(["_study", "_kind", "_far"], kind="stable")[FLAG_COLUMNS].reset_index(drop=True)


def _flag(row: Mapping[Hashable, object], options: QCOptions) -> dict[str, object]:
    stage, measure = str(row["stage"]), str(row["measure"])
    about, limit = known(stage, measure), options.limit(stage, measure)
    by_limit = limit is not None and bool(row["broken"])
    near = f"within {options.outlier_z:g} robust standard deviations of {row['median']:.4g}"
    return {
        **{name: row[name] for name in MEASURE_COLUMNS},
        "allowed": str(limit) if by_limit else near,
        "kind": "limit" if by_limit else "outlier",
        "z": row["z"],
        "action": limit.action if by_limit and limit is not None else options.outliers,
        "why": about.meaning or measure.replace("_", " "),
        "look": about.look,
    }


def held_back(found: pd.DataFrame) -> list[str]:
    """The studies of a table of flags that are to be left out, in order."""
    return list(dict.fromkeys(found.loc[found["action"] == "quarantine", "study"]))
