"""Where curves and pictures of a run go. Training knows this protocol, not who implements it."""

from __future__ import annotations

from typing import Protocol

import numpy as np


class Tracker(Protocol):
    """Receives what a run has to show while it goes on."""

    def metrics(self, values: dict[str, float], step: int) -> None:
        """Scalars by name."""

    def images(self, array: np.ndarray, name: str, step: int) -> None:
        """One picture, ``(height, width)`` uint8."""


class NoTracker:
    """Keeps nothing."""

    def metrics(self, values: dict[str, float], step: int) -> None:
        """Do nothing."""

    def images(self, array: np.ndarray, name: str, step: int) -> None:
        """Do nothing."""
