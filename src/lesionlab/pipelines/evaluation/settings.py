"""What a run's scores were made with, so that folds of different runs are never pooled."""

from __future__ import annotations

from typing import Any

from lesionlab.parameters import Parameters
from lesionlab.pipelines.evaluation import nodes
from lesionlab.stages.code import code_of
from lesionlab.stages.fingerprints import fingerprint_of

_INDIFFERENT: dict[str, Any] = {
    "workspace": True,
    "run": True,
    "published": True,
    "splits": {"fold"},
    "cohort": {"root"},
}


def of_run(parameters: dict[str, Any]) -> dict[str, str]:
    """Fingerprints of the parameters, without what folds may differ in, and of the code that scores."""
    chosen = Parameters.model_validate(parameters).model_dump(mode="json", exclude=_INDIFFERENT)
    return {"parameters": fingerprint_of(chosen), "code": code_of(nodes.score_segmentation)}
