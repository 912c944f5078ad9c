"""MLflow behind the training room's tracker."""

from __future__ import annotations

import os
import re

import mlflow
import numpy as np

_RUN = "MLFLOW_RUN_ID"


def mlflow_name(name: str) -> str:
    """A name MLflow takes: what it forbids becomes an underscore."""
    return re.sub(r"[^\w\-. :/]", "_", name)


def tracking_variables() -> dict[str, str]:
    """What processes of a training have to know to log into the active MLflow run; empty where there is none."""
    run = mlflow.active_run()
    return {_RUN: run.info.run_id, "MLFLOW_TRACKING_URI": mlflow.get_tracking_uri()} if run else {}


def make_tracker(prefix: str) -> MlflowTracker:
    """A tracker in this process, or in one of several that :func:`tracking_variables` was given to."""
    if mlflow.active_run() is None and _RUN in os.environ:
        mlflow.start_run(run_id=os.environ[_RUN])
    return MlflowTracker(prefix)


class MlflowTracker:
    """Curves and pictures into the active MLflow run, if there is one.

    Args:
        prefix: put before every name, for example ``cgsamr``.
    """

    def __init__(self, prefix: str) -> None:
        self.prefix = mlflow_name(prefix)

    def metrics(self, values: dict[str, float], step: int) -> None:
        """Scalars by name at a step."""
        if mlflow.active_run():
            mlflow.log_metrics({f"{self.prefix}/{name}": value for name, value in values.items()}, step=step)

    def images(self, array: np.ndarray, name: str, step: int) -> None:
        """One picture, ``(height, width)`` uint8, at a step."""
        if mlflow.active_run():
            mlflow.log_image(array, artifact_file=f"images/{self.prefix}/{name}-{step:06d}.png")
