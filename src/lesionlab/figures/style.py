"""One look for every picture: colours, fonts, and figures made without pyplot's global state."""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

INK = "#1c2733"
MUTED = "#5d6b7a"
LINE = "#d9e0e6"
ACCENT = "#0e6e83"
WARNING = "#c2410c"
DPI = 150

# The colours of Fig. 7 of CG-SAMR: gray, green, yellow and blue for normal brain, edema, tumor and cavity.
BACKGROUND = "#000000"
NORMAL_BRAIN = "#8b8f94"
CLASS_COLOURS = {"edema": "#3fa65a", "tumor": "#f2c52b", "cavity": "#3575d6"}
# For lesion classes that paper does not have.
MORE_COLOURS = ("#e4572e", "#b86bd1", "#20a4a6", "#e58ab3", "#9c6b3f")

# Methods, protocols and runs: one hue from light to dark after a neutral one for the baseline.
SERIES = ("#6b7785", "#3fa7b8", "#0b5566", "#e08a3c", "#8a5fb0", "#b3404a")

_LOOK = {
    "font.family": "DejaVu Sans",
    "font.size": 9.5,
    "axes.titlesize": 10,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.labelsize": 9.5,
    "axes.labelcolor": INK,
    "axes.edgecolor": "#aab4be",
    "axes.linewidth": 0.8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": LINE,
    "grid.linewidth": 0.7,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "xtick.labelsize": 9,
    "ytick.labelsize": 9,
    "text.color": INK,
    "legend.frameon": False,
    "legend.fontsize": 9,
    "figure.facecolor": "white",
    "savefig.facecolor": "white",
}


@contextmanager
def look() -> Iterator[None]:
    """Drawing inside this block has the project's look, whatever the user's matplotlibrc says."""
    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(_LOOK)  # type: ignore[arg-type]
        yield


def new_axes(
    columns: int = 1, rows: int = 1, *, size: tuple[float, float], sharey: bool = False
) -> tuple[Figure, list[Axes]]:
    """A figure of ``size`` inches and its axes, row by row, in one list."""
    figure = Figure(figsize=size, dpi=DPI, layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False, sharey=sharey)
    return figure, list(axes.ravel())


def to_png(figure: Figure) -> bytes:
    """The figure as PNG bytes; the same figure gives the same bytes."""
    stream = io.BytesIO()
    figure.savefig(stream, format="png", dpi=DPI, metadata={"Software": None})
    return stream.getvalue()


def class_colours(lesion_classes: Sequence[str]) -> dict[str, str]:
    """A colour for each lesion class: the paper's where it has one."""
    spare = iter(MORE_COLOURS * (1 + len(lesion_classes) // len(MORE_COLOURS)))
    return {name: CLASS_COLOURS.get(name) or next(spare) for name in lesion_classes}


def label_legend(lesion_classes: Sequence[str]) -> list[tuple[str, str]]:
    """Names and colours of a label map's codes from 1 on: normal brain, then the lesion classes in order."""
    return [("normal brain", NORMAL_BRAIN), *class_colours(lesion_classes).items()]


def rgb(colour: str) -> tuple[int, int, int]:
    """``#rrggbb`` as three numbers from 0 to 255."""
    return int(colour[1:3], 16), int(colour[3:5], 16), int(colour[5:7], 16)


def coloured(label_map: np.ndarray, lesion_classes: Sequence[str]) -> np.ndarray:
    """A label map ``(H, W)`` (0 background, 1 normal brain, 2.. lesion classes) as ``(H, W, 3)`` uint8 colours.

    Raises:
        ValueError: the map holds a code that no class has.
    """
    colours = [BACKGROUND, *(colour for _, colour in label_legend(lesion_classes))]
    codes = np.asarray(label_map)
    if codes.size and (codes.min() < 0 or codes.max() >= len(colours)):
        raise ValueError(f"label map holds codes {np.unique(codes)}, allowed are 0 to {len(colours) - 1}")
    return np.array([rgb(colour) for colour in colours], dtype=np.uint8)[codes.astype(np.intp)]
