"""A scan's background: the one value around a brain that was cut out, or around a head that was masked."""

from __future__ import annotations

import numpy as np

from lesionlab.imaging.volume import Volume

#: Share of the border that one value has to fill, to count as background.
MOSTLY = 0.5


def border(data: np.ndarray) -> np.ndarray:
    """Voxels on the field of view's border ``(N,)``, first and last plane aside: a brain may reach those."""
    inner = np.zeros(data.shape, dtype=bool)
    inner[1:-1, 1:-1, :] = True
    return data[~inner]


def commonest_on_border(volume: Volume) -> tuple[float, float]:
    """The commonest value on the border, and the share of it that it fills."""
    values, counts = np.unique(border(volume.data), return_counts=True)
    return float(values[counts.argmax()]), float(counts.max() / counts.sum())


def background_of(volume: Volume) -> float | None:
    """The background's value; None where the border holds no constant one, as in a raw scan with its noise."""
    value, share = commonest_on_border(volume)
    return value if share >= MOSTLY else None
