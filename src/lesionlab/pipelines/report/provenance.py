"""What a run's figures were made from, as MLflow has it."""

from __future__ import annotations

import platform
from collections.abc import Mapping
from importlib.metadata import version

import mlflow
import pandas as pd
from mlflow.entities import Run

from lesionlab.parameters import Parameters
from lesionlab.stages.fingerprints import cohort_fingerprint

_LIBRARIES = ("torch", "lightning", "antspyx", "SimpleITK", "deepbet", "nibabel", "pandas", "kedro", "mlflow")

_TREES = {"True": "modified", "False": "as committed"}  # what the run's tag says of the working tree


def provenance(cohort: pd.DataFrame, options: Parameters) -> dict[str, str]:
    """What the figures were made from."""
    run = _tracked()
    tags = run.data.tags if run else {}
    found = {
        "commit": tags.get("commit", "not in a git checkout"),
        "working tree": _TREES.get(tags.get("modified", ""), "unknown"),
        "cohort fingerprint": cohort_fingerprint(cohort),
        "seed": str(options.seed),
        "MLflow run": run.info.run_id if run else "none",
        "Python": platform.python_version(),
    }
    return found | {name: version(name) for name in _LIBRARIES}


def durations() -> Mapping[str, float]:
    """Seconds of each node of this run so far; nodes that found their work done are short."""
    run = _tracked()
    if run is None:
        return {}
    prefix = "seconds/"
    return {name.removeprefix(prefix): value for name, value in run.data.metrics.items() if name.startswith(prefix)}


def _tracked() -> Run | None:
    """The run under way with all that was logged so far: the active one only knows what it began with."""
    run = mlflow.active_run()
    return mlflow.get_run(run.info.run_id) if run else None
