"""Plots of sets of synthetic slices: are they copies, are training slices known again, does confidence tell error?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from lesionlab.figures import style

_POINTS = 201  # of a cumulative curve
_COLUMNS = 3  # plots side by side


def nearest_curves(distances: Mapping[str, Mapping[str, np.ndarray]]) -> bytes:
    """Share of slices whose nearest training slice is at most so far away, one plot per region; PNG.

    Args:
        distances: region (title of its plot) to name of a set to ``(N,)`` distances, NaN where there is none; the
            first set is the natural one that the others are held against.

    Raises:
        ValueError: no distance at all.
    """
    known = {region: {name: d[np.isfinite(d)] for name, d in sets.items()} for region, sets in distances.items()}
    if not any(len(d) for sets in known.values() for d in sets.values()):
        raise ValueError("there is no distance to draw")
    with style.look():
        figure, axes = style.new_axes(len(known), size=(4.3 * len(known) + 0.4, 3.3), sharey=True)
        for axis, (region, sets) in zip(axes, known.items(), strict=True):
            for at, (name, values) in enumerate(sets.items()):
                if len(values):
                    shares = np.linspace(0, 1, _POINTS)
                    colour = style.SERIES[at % len(style.SERIES)]
                    axis.plot(np.quantile(values, shares), shares, color=colour, linewidth=1.8, label=name)
            axis.set_title(region)
            axis.set_xlabel("mean squared difference to the nearest")
            axis.set_xlim(left=0)
        axes[0].set_ylabel("share of slices")
        handles, labels = axes[0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncols=min(3, len(labels)))
        return style.to_png(figure)


def membership_curves(scores: Mapping[str, tuple[np.ndarray, np.ndarray]]) -> bytes:
    """Share of real slices that discriminators score at most so high: those trained on, and held-out ones; PNG.

    Args:
        scores: synthesizer's title (of its plot) to the scores ``(n,)`` of slices trained on and ``(m,)`` of others.

    Raises:
        ValueError: no synthesizer.
    """
    if not scores:
        raise ValueError("there is no synthesizer whose discriminators' scores could be drawn")
    with style.look():
        columns = min(_COLUMNS, len(scores))
        rows = -(-len(scores) // columns)
        figure, axes = style.new_axes(columns, rows, size=(3.2 * columns + 0.4, 2.7 * rows + 0.5), sharey=True)
        for axis in axes[len(scores) :]:
            axis.set_axis_off()
        for axis, (title, (members, strangers)) in zip(axes, scores.items(), strict=False):
            axis.ecdf(strangers, color=style.SERIES[0], linewidth=1.8, label="held out")
            axis.ecdf(members, color=style.SERIES[1], linewidth=1.8, label="trained on")
            axis.set_title(title)
            axis.set_xlabel("discriminators' mean score")
            axis.locator_params(axis="x", nbins=4)  # more numbers, with their signs and decimals, touch each other
        for axis in axes[::columns]:
            axis.set_ylabel("share of real slices")
        handles, labels = axes[0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncols=2)
        return style.to_png(figure)


def reliability_plot(table: pd.DataFrame, *, sequences: Sequence[str]) -> bytes:
    """Mean error by confidence, one plot per sequence, with the confidence that Eq. 1 of CG-SAMR asks for; PNG.

    Args:
        table: columns ``sequence, confidence, error, ci_low, ci_high, expected_confidence, pixels``; where the
            expected confidence is NaN no optimum is drawn.
        sequences: one plot each.

    Raises:
        ValueError: no row of these sequences.
    """
    rows = table[table["sequence"].isin(sequences)]
    if rows.empty:
        raise ValueError(f"no reliability of the sequences {list(sequences)}")
    with style.look():
        figure, axes = style.new_axes(len(sequences), size=(min(10.0, 2.4 * len(sequences) + 0.8), 2.9), sharey=True)
        for axis, sequence in zip(axes, sequences, strict=True):
            own = rows[rows["sequence"] == sequence].sort_values("confidence")
            axis.vlines(own["confidence"], own["ci_low"], own["ci_high"], color=style.ACCENT, linewidth=1.0)
            sizes = 12 + 60 * own["pixels"] / own["pixels"].max()
            axis.scatter(own["confidence"], own["error"], s=sizes, color=style.ACCENT, zorder=3, label="measured")
            wanted = own.sort_values("error")
            optimum = wanted["expected_confidence"]
            if optimum.notna().any():
                axis.plot(optimum, wanted["error"], color=style.WARNING, linestyle="--", label="Eq. 1's optimum")
            axis.set_title(sequence)
            axis.set_xlabel("confidence")
            axis.set_xlim(0, 1)
        axes[0].set_ylabel("mean error")
        handles, labels = axes[0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncols=2)
        return style.to_png(figure)
