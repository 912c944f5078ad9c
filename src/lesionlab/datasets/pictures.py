"""Pictures for kedro-viz."""

from __future__ import annotations

import base64

import numpy as np
from kedro_datasets._typing import ImagePreview

from lesionlab.figures.mosaic import Tile, mosaic, png, windowed

_WINDOW = (1.0, 99.0)  # percentiles shown as black and white


def plane_preview(plane: np.ndarray) -> ImagePreview:
    """A plane ``(H, W)`` as a grey picture."""
    low, high = np.percentile(plane, _WINDOW)
    picture = mosaic([[Tile(windowed(plane, float(low), float(max(high, low + 1e-6))))]])
    return ImagePreview(base64.b64encode(png(picture)).decode("ascii"))
