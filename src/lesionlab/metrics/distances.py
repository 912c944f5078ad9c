"""Squared distances between the rows of two sets, without the tensor of all differences."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

CHUNK = 256  # rows of each set that are in memory at once


def squared_distances(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """``|a|^2 + |b|^2 - 2 a b`` of all pairs of rows: ``(n, F)`` and ``(m, F)`` -> ``(n, m)`` float64, none below 0.

    Both sets are moved by the mean of the first, which changes no distance and spares digits.
    """
    one, other = np.asarray(one, np.float64), np.asarray(other, np.float64)
    centre = one.mean(axis=0)
    one, other = one - centre, other - centre
    squares = (one**2).sum(axis=1)[:, None] + (other**2).sum(axis=1)[None]
    return np.maximum(squares - 2 * one @ other.T, 0.0)


def chunks(length: int, size: int = CHUNK) -> Iterator[slice]:
    """Slices that cover ``range(length)``."""
    for start in range(0, length, size):
        yield slice(start, min(start + size, length))
