"""What a run's scores were made with, so that folds of different runs are never pooled."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lesionlab.evaluation import segmentation
from lesionlab.stages.code import code_of
from lesionlab.stages.fingerprints import fingerprint_of

#: What folds may differ in: a parameter, or one below it.
_INDIFFERENT: Mapping[str, str | None] = {
    "workspace": None,
    "run": None,
    "published": None,
    "splits": "fold",
    "cohort": "root",
}


def of_run(parameters: Mapping[str, Any]) -> dict[str, str]:
    """Fingerprints of all parameters, without what folds may differ in, and of the code that scores."""
    chosen = dict(parameters)
    for name, part in _INDIFFERENT.items():
        if part is None:
            del chosen[name]
        else:
            chosen[name] = {key: value for key, value in chosen[name].items() if key != part}
    return {"parameters": fingerprint_of(chosen), "code": code_of(segmentation.score)}
