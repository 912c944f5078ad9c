"""Kedro dataset for a trial's plan."""

from __future__ import annotations

import json
from pathlib import Path

from kedro.io import AbstractDataset
from kedro_datasets._typing import TablePreview

from lesionlab.stages.artifact import write_json
from lesionlab.trials.plan import TrialPlan


class TrialPlanDataset(AbstractDataset[TrialPlan, TrialPlan]):
    """A trial's plan as JSON.

    Args:
        filepath: the file, relative to the project.
    """

    def __init__(self, *, filepath: str, metadata: dict[str, object] | None = None) -> None:
        self._path = Path(filepath)
        self.metadata = metadata

    def load(self) -> TrialPlan:
        """The plan."""
        return TrialPlan.model_validate(json.loads(self._path.read_text(encoding="utf-8")))

    def save(self, data: TrialPlan) -> None:
        """Write the plan; a reader sees the old one or the new one."""
        self._path.parent.mkdir(parents=True, exist_ok=True)
        write_json(self._path, data.model_dump(mode="json"))

    def preview(self) -> TablePreview:
        """A row per training, for kedro-viz."""
        return TablePreview(self.load().table().to_dict(orient="split"))

    def _exists(self) -> bool:
        return self._path.is_file()

    def _describe(self) -> dict[str, str]:
        return {"filepath": str(self._path)}
