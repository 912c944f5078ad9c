"""Training curves as small multiples."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from lesionlab.figures import style

COLUMNS = 4
PANEL = (2.45, 1.75)  # inches
SMOOTHING = 30  # the running mean covers one part in so many of a curve
LOG_RATIO = 30.0  # a positive curve that spans more than this is drawn on a logarithmic axis
SPAN = (5.0, 95.0)  # percentiles of a curve between which it is measured


def training_curves(history: pd.DataFrame, *, names: Sequence[str] | None = None) -> bytes:
    """One small plot per quantity: each logged value thin, its running mean thick; PNG.

    Args:
        history: columns ``step``, ``name``, ``value``; optionally ``run``, one line per run with a legend.
        names: the quantities to draw, in order; all by default, as they appear.

    Raises:
        ValueError: columns are missing, or nothing is left to draw.
    """
    missing = {"step", "name", "value"} - set(history.columns)
    if missing:
        raise ValueError(f"a training history needs the columns {sorted(missing)}, has {list(history.columns)}")
    present = list(dict.fromkeys(history["name"]))
    shown = [name for name in names or present if name in present]
    if not shown:
        raise ValueError(f"no curve to draw: asked for {list(names or [])}, the history has {present}")
    columns = min(COLUMNS, len(shown))
    rows = math.ceil(len(shown) / columns)
    with style.look():
        figure, axes = style.new_axes(columns, rows, size=(PANEL[0] * columns, PANEL[1] * rows + 0.35))
        for axis, name in zip(axes, shown, strict=False):
            _curve(axis, history[history["name"] == name])
            axis.set_title(name.replace("_", " "), fontsize=9)
        for axis in axes[len(shown) :]:
            axis.set_axis_off()
        for axis in axes[max(0, len(shown) - columns) : len(shown)]:
            axis.set_xlabel("step")
        if "run" in history.columns and history["run"].nunique() > 1:
            handles, labels = axes[0].get_legend_handles_labels()
            figure.legend(handles, labels, loc="outside lower center", ncols=len(labels))
        return style.to_png(figure)


def running_mean(values: np.ndarray) -> np.ndarray:
    """The mean over a centred window, a ``SMOOTHING``-th of the curve; narrower at its ends."""
    window = max(1, len(values) // SMOOTHING)
    return pd.Series(values, dtype=float).rolling(window, center=True, min_periods=1).mean().to_numpy()


def _curve(axis: Axes, rows: pd.DataFrame) -> None:
    runs = [("", rows)] if "run" not in rows.columns else list(rows.groupby("run", sort=False))
    for at, (run, lines) in enumerate(runs):
        ordered = lines.sort_values("step", kind="stable")
        steps, values = ordered["step"].to_numpy(), ordered["value"].to_numpy(dtype=float)
        colour = style.ACCENT if len(runs) == 1 else style.SERIES[at % len(style.SERIES)]
        axis.plot(steps, values, color=colour, linewidth=0.6, alpha=0.3)
        axis.plot(steps, running_mean(values), color=colour, linewidth=1.6, label=str(run))
    values = rows["value"].to_numpy(dtype=float)
    values = values[np.isfinite(values)]
    if values.size and values.min() > 0:
        low, high = np.percentile(values, SPAN)
        if high / low > LOG_RATIO:
            axis.set_yscale("log")
    axis.margins(x=0.02)
