"""Averages over arrays that lie in files: block by block, so that memory does not grow with their number."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Literal

import numpy as np

Average = Literal["mean", "median"]

#: What one block of all arrays together may take. Sorting a block with its weights takes a few times as much.
BLOCK_BYTES = 2 * 2**20

_DTYPE = np.dtype(np.float32)


def store(data: np.ndarray, path: Path) -> Path:
    """Write an array's values as bare float32, in C order, for :func:`average`."""
    np.ascontiguousarray(data, dtype=_DTYPE).tofile(path)
    return path


def average(
    files: Sequence[Path],
    weights: Sequence[Path] | None,
    shape: Sequence[int],
    kind: Average = "mean",
    block_bytes: int = BLOCK_BYTES,
) -> np.ndarray:
    """Average arrays element by element, with a weight for each element of each array.

    The result does not depend on the size of a block. Where all weights of an element are 0, all arrays count alike.

    Args:
        files: of :func:`store`, one per array.
        weights: files of weights of at least 0, one per array; None: equal weights.
        shape: of every array.
        kind: the weighted mean, or the weighted median (as ``numpy.median`` where weights are equal: the mean of the
            two middle values, where half of the weight lies on either side).
        block_bytes: values in memory at once, over all files.

    Returns:
        float32, of that shape.
    """
    result = np.empty(int(np.prod(shape)), dtype=_DTYPE)
    for first, count in _blocks(result.size, max(1, block_bytes // (_DTYPE.itemsize * len(files)))):
        values = _read(files, first, count)
        if weights is None:
            result[first : first + count] = np.median(values, axis=0) if kind == "median" else _mean(values)
        else:
            share = _usable(_read(weights, first, count))
            weighted = weighted_median if kind == "median" else weighted_mean
            result[first : first + count] = weighted(values, share)
    return result.reshape(tuple(shape))


def weighted_mean(values: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Mean over the first axis; no element's weights may all be 0."""
    wide = weights.astype(np.float64)
    return np.asarray((values * wide).sum(axis=0) / wide.sum(axis=0))


def weighted_median(values: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Median over the first axis: half of the weight lies at or below it, half at or above.

    Where one value ends the first half and the next begins the second, their mean, as an even number of equal weights
    has it. No element's weights may all be 0.
    """
    order = np.argsort(values, axis=0, kind="stable")
    values = np.take_along_axis(values, order, axis=0)
    below = np.cumsum(np.take_along_axis(weights, order, axis=0), axis=0, dtype=np.float64)
    half = below[-1] / 2
    lower = np.take_along_axis(values, (below >= half).argmax(axis=0)[None], axis=0)[0]
    upper = np.take_along_axis(values, (below > half).argmax(axis=0)[None], axis=0)[0]
    return np.asarray((lower + upper) / 2)


def _mean(values: np.ndarray) -> np.ndarray:
    return np.asarray(values.mean(axis=0, dtype=np.float64))


def _usable(weights: np.ndarray) -> np.ndarray:
    return np.where(weights.sum(axis=0) > 0, weights, _DTYPE.type(1))


def _blocks(size: int, count: int) -> Iterator[tuple[int, int]]:
    for first in range(0, size, count):
        yield first, min(count, size - first)


def _read(files: Sequence[Path], first: int, count: int) -> np.ndarray:
    # Read, not mapped: the pages of a mapped file count as this process's memory.
    return np.stack([np.fromfile(file, dtype=_DTYPE, count=count, offset=first * _DTYPE.itemsize) for file in files])
