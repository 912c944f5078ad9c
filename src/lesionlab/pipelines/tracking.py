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
    """A tracker in this process, or in one of several that :func:`tracking_variables` was given to.

    These do not open the run: it would count as finished as soon as the first of them ends.
    """
    run = mlflow.active_run()
    return MlflowTracker(prefix, run.info.run_id if run else os.environ.get(_RUN))


class MlflowTracker:
    """Curves and pictures into an MLflow run.

    Args:
        prefix: put before every name, for example ``cgsamr``.
        run: the run's id; None: nothing is tracked.
    """

    def __init__(self, prefix: str, run: str | None) -> None:
        self.prefix, self.run = mlflow_name(prefix), run

    def metrics(self, values: dict[str, float], step: int) -> None:
        """Scalars by name at a step."""
        if self.run:
            named = {f"{self.prefix}/{name}": value for name, value in values.items()}
            mlflow.log_metrics(named, step=step, run_id=self.run)

    def images(self, array: np.ndarray, name: str, step: int) -> None:
        """One picture, ``(height, width)`` uint8, at a step."""
        if self.run:
            file = f"images/{self.prefix}/{name}-{step:06d}.png"
            mlflow.MlflowClient().log_image(self.run, array, artifact_file=file)
