"""MLflow behind the training room's tracker."""

from __future__ import annotations

import re

import mlflow
import numpy as np


def mlflow_name(name: str) -> str:
    """A name MLflow takes: what it forbids becomes an underscore."""
    return re.sub(r"[^\w\-. :/]", "_", name)


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
