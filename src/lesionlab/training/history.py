"""What a run has measured so far: means since the last entry, the entries, and where the time went."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from torch import Tensor

from lesionlab.training.files import write_whole

LARGEST = torch.finfo(torch.float32).max
_NEVER = -1  # the step at which a scalar broke that never did


class Meter:
    """Running means of scalars, and when each broke; kept on their device, so that no step waits for it.

    Args:
        limit: a scalar whose absolute value is above it is broken, as is one that is not finite.
    """

    def __init__(self, limit: float | None = None) -> None:
        self.limit = LARGEST if limit is None else limit
        self.names: tuple[str, ...] = ()
        self.sums, self.count = torch.zeros(0), 0
        self.broke, self.broken_value = torch.zeros(0, dtype=torch.int64), torch.zeros(0)

    def add(self, values: Mapping[str, Tensor], step: int = 0) -> None:
        """Count the scalars of a step, which have the same names in each."""
        stacked = torch.stack([value.float() for value in values.values()])
        if not self.count:
            self.names, self.sums = tuple(values), torch.zeros_like(stacked)
            self.broke, self.broken_value = torch.full_like(stacked, _NEVER, dtype=torch.int64), stacked
        if tuple(values) != self.names:
            raise ValueError(f"a step gave {', '.join(values)}, those before {', '.join(self.names)}")
        self.sums = self.sums + stacked
        breaks = ~(stacked.abs() <= self.limit) & (self.broke == _NEVER)  # not `>`: nan is on neither side
        self.broke = torch.where(breaks, step, self.broke)
        self.broken_value = torch.where(breaks, stacked, self.broken_value)
        self.count += 1

    def broken(self) -> dict[str, tuple[int, float]]:
        """Scalars that broke since the last entry: the step at which each first did, and its value then.

        Waits for the device.
        """
        found = zip(self.names, self.broke.tolist(), self.broken_value.tolist(), strict=True)
        return {name: (step, value) for name, step, value in found if step != _NEVER}

    def drain(self) -> dict[str, float]:
        """The means since the last call; starts anew."""
        means = {name: total / self.count for name, total in zip(self.names, self.sums.tolist(), strict=True)}
        self.names, self.count = (), 0
        self.sums, self.broke, self.broken_value = self.sums[:0], self.broke[:0], self.broken_value[:0]
        return means

    def state_dict(self) -> dict[str, Any]:
        """Sums so far, for a checkpoint, which is written where nothing is broken."""
        return {"names": list(self.names), "sums": self.sums, "count": self.count}

    def load_state_dict(self, state: dict[str, Any], device: torch.device) -> None:
        """Go on from there."""
        self.names, self.count = tuple(state["names"]), state["count"]
        self.sums = self.broken_value = state["sums"].to(device)
        self.broke = torch.full_like(self.sums, _NEVER, dtype=torch.int64)


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

    @classmethod
    def read(cls, path: Path) -> History:
        """The history that :meth:`save` wrote; empty where there is none."""
        history = cls()
        if path.is_file():
            history.rows = list(pd.read_csv(path, float_precision="round_trip").itertuples(index=False, name=None))
        return history

    def save(self, path: Path) -> None:
        """Write the table as CSV, whole or not at all."""
        text = self.table().to_csv(index=False)
        write_whole(path, lambda file: file.write(text.encode()))


class Stopwatch:
    """Time since the last entry, and how much of it the loader took; what is not training does not count."""

    def __init__(self) -> None:
        self.restart()

    def restart(self) -> None:
        """Begin anew."""
        self.since, self.loading = time.perf_counter(), 0.0

    @contextmanager
    def load(self) -> Iterator[None]:
        """A block that fetches a batch."""
        start = time.perf_counter()
        yield
        self.loading += time.perf_counter() - start

    @contextmanager
    def pause(self) -> Iterator[None]:
        """A block that is no training: validation, pictures, checkpoints."""
        start = time.perf_counter()
        yield
        self.since += time.perf_counter() - start

    def rates(self, steps: int) -> dict[str, float]:
        """Steps per second, and the loader's share of the time."""
        elapsed = time.perf_counter() - self.since
        return {"speed/steps_per_second": steps / elapsed, "speed/loader_share": self.loading / elapsed}
