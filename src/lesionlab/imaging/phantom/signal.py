"""What each tissue gives on each sequence, relative to normal-appearing white matter's scale on T1w."""

from __future__ import annotations

import numpy as np

from lesionlab.imaging.phantom.anatomy import Head
from lesionlab.imaging.phantom.options import SequenceName

# Values chosen to look like clinical scans at 1.5 to 3 T. FLAIR has its fat partly suppressed. APTw is shown on a
# nonnegative scale on which 0.5 is 0 % and 0.1 is 2 %.
SIGNAL: dict[SequenceName, dict[str, float]] = {
    "T1w": {
        "csf": 0.18, "gm": 0.54, "wm": 0.81, "blood": 0.36, "dura": 0.30, "bone": 0.06, "marrow": 0.72, "fat": 1.60,
        "soft": 0.48, "eye": 0.22, "edema": 0.60, "tumor": 0.54, "enhanced": 0.52, "cavity": 0.30, "bleed": 1.05,
    },
    "T1ce": {
        "csf": 0.18, "gm": 0.56, "wm": 0.81, "blood": 1.25, "dura": 0.55, "bone": 0.06, "marrow": 0.76, "fat": 1.60,
        "soft": 0.62, "eye": 0.22, "edema": 0.60, "tumor": 0.56, "enhanced": 1.35, "cavity": 0.31, "bleed": 1.10,
    },
    "T2w": {
        "csf": 1.15, "gm": 0.50, "wm": 0.33, "blood": 0.10, "dura": 0.15, "bone": 0.04, "marrow": 0.36, "fat": 0.85,
        "soft": 0.20, "eye": 1.05, "edema": 0.74, "tumor": 0.62, "enhanced": 0.60, "cavity": 0.98, "bleed": 0.35,
    },
    "FLAIR": {
        "csf": 0.10, "gm": 0.64, "wm": 0.49, "blood": 0.12, "dura": 0.22, "bone": 0.04, "marrow": 0.24, "fat": 0.36,
        "soft": 0.28, "eye": 0.12, "edema": 1.05, "tumor": 0.86, "enhanced": 0.80, "cavity": 0.42, "bleed": 0.60,
    },
    "APTw": {
        "csf": 0.63, "gm": 0.53, "wm": 0.46, "blood": 0.58, "dura": 0.30, "bone": 0.10, "marrow": 0.22, "fat": 0.20,
        "soft": 0.40, "eye": 0.50, "edema": 0.57, "tumor": 0.78, "enhanced": 0.86, "cavity": 0.66, "bleed": 0.80,
    },
}  # fmt: skip

# How far the template's T1 residual shows on a sequence (deep grey matter is darker on T2w).
RESIDUAL: dict[SequenceName, float] = {"T1w": 1.0, "T1ce": 1.0, "T2w": -0.9, "FLAIR": -0.6, "APTw": 0.1}
# Texture: share of the signal per standard deviation of the head's texture.
TEXTURE: dict[SequenceName, float] = {"T1w": 0.02, "T1ce": 0.022, "T2w": 0.035, "FLAIR": 0.03, "APTw": 0.02}
# Subjects differ by this much (standard deviation, share) in each tissue's signal.
SPREAD = 0.03


def tissue_values(sequence: SequenceName, rng: np.random.Generator) -> dict[str, float]:
    """A subject's signal of each tissue on a sequence."""
    return {name: value * (1 + SPREAD * rng.standard_normal()) for name, value in SIGNAL[sequence].items()}


def render(head: Head, sequence: SequenceName, values: dict[str, float]) -> np.ndarray:
    """The noiseless signal of a head on a sequence: ``head.frame.shape`` float32, nonnegative."""
    out = np.zeros(head.frame.shape, np.float32)
    for name, share in head.tissues.items():
        if name == "tumor":
            share = share - head.tissues["enhanced"] - head.tissues["bleed"]
        out += np.float32(values[name]) * share
    out *= 1 + np.float32(TEXTURE[sequence]) * head.texture
    out += np.float32(RESIDUAL[sequence]) * head.residual
    return np.maximum(out, 0)
