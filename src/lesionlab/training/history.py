"""What a run has measured so far: means since the last entry, and the entries."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from torch import Tensor


class Meter:
    """Running means of scalars, kept on their device so that no step waits for it."""

    def __init__(self) -> None:
        self.sums: dict[str, Tensor] = {}
        self.count = 0

    def add(self, values: Mapping[str, Tensor]) -> None:
        """Count one step's scalars."""
        for name, value in values.items():
            self.sums[name] = self.sums[name] + value if name in self.sums else value.clone()
        self.count += 1

    def drain(self) -> dict[str, float]:
        """The means since the last call; starts anew."""
        means = {name: float(total) / self.count for name, total in self.sums.items()}
        self.sums, self.count = {}, 0
        return means

    def state_dict(self) -> dict[str, Any]:
        """Sums so far, for a checkpoint."""
        return {"sums": dict(self.sums), "count": self.count}

    def load_state_dict(self, state: dict[str, Any], device: torch.device) -> None:
        """Go on from there."""
        self.sums = {name: total.to(device) for name, total in state["sums"].items()}
        self.count = state["count"]


class History:
    """Measurements in long form: step, name, value."""

    def __init__(self) -> None:
        self.rows: list[tuple[int, str, float]] = []

    def add(self, step: int, values: Mapping[str, float]) -> None:
        """Append measurements of a step."""
        self.rows += [(step, name, float(value)) for name, value in values.items()]

    def table(self) -> pd.DataFrame:
        """All measurements: columns ``step``, ``name``, ``value``."""
        return pd.DataFrame(self.rows, columns=["step", "name", "value"])

    def save(self, path: Path) -> None:
        """Write the table as CSV, aside first."""
        aside = path.with_suffix(".partial")
        self.table().to_csv(aside, index=False)
        aside.replace(path)
