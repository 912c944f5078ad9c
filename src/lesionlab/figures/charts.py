"""Plots of scores: Dice per patient, differences to the baseline, pixel accuracy against its floors."""

from __future__ import annotations

import textwrap
from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from lesionlab.figures import formats, style

BOX_FROM = 8  # patients; with fewer, quartiles say less than the points themselves
METRIC_WORDS = {
    "dice": "Dice",
    "hd95": "HD95 (mm)",
    "pixel_accuracy": "pixel accuracy",
    "ssim": "SSIM",
    "psnr": "PSNR (dB)",
}
_LEGEND = 4  # names side by side below a plot
_NAMED = 4  # protocols whose names fit below a plot; more are numbered
LESS_IS_BETTER = ("hd95", "missed", "invented")
_NUDGE = 0.05  # of a step along the axis between lines, so that their intervals stand side by side


def protocol_name(protocol: str, counts: Mapping[str, tuple[int, int]] | None) -> str:
    """A protocol with its numbers of slices: ``real+25% (480 real + 240 synthetic)``."""
    if counts is None or protocol not in counts:
        return protocol
    real, synthetic = counts[protocol]
    return f"{protocol} ({real} real + {synthetic} synthetic)" if synthetic else f"{protocol} ({real} real)"


def scores_by_protocol(
    scores: pd.DataFrame,
    *,
    classes: Sequence[str],
    protocols: Sequence[str],
    metric: str = "dice",
    counts: Mapping[str, tuple[int, int]] | None = None,
    floors: Mapping[str, Mapping[str, float]] | None = None,
) -> bytes:
    """Every test patient's score by protocol, one plot per class, a patient's points joined by a line; PNG.

    Args:
        scores: long form with columns ``protocol, class, metric, subject, value``; one row each per patient.
        classes: lesion classes, one plot each.
        protocols: protocols from left to right; the first is the baseline.
        metric: the metric drawn.
        counts: real and synthetic slices of each protocol, for the legend.
        floors: floor's name -> class -> value, drawn as dashed lines.

    Raises:
        ValueError: no score of that metric, class and protocol.
    """
    chosen = scores[scores["metric"].eq(metric) & scores["class"].isin(classes) & scores["protocol"].isin(protocols)]
    if chosen.empty:
        raise ValueError(f"no score of {metric} for classes {list(classes)} and protocols {list(protocols)}")
    with style.look():
        many = len(protocols) > _NAMED
        size = (min(10.0, 2.9 * len(classes) + 1.2), 3.6 + (0.11 * len(protocols) if many else 0))
        figure, axes = style.new_axes(len(classes), size=size, sharey=True)
        ticks = [str(at + 1) for at in range(len(protocols))] if many else list(protocols)
        for axis, name in zip(axes, classes, strict=True):
            _patients(axis, chosen[chosen["class"] == name], protocols)
            _floor_lines(axis, {floor: values.get(name) for floor, values in (floors or {}).items()})
            axis.set_title(name)
            axis.set_xticks(range(len(protocols)), ticks)
            axis.set_xlim(-0.5, len(protocols) - 0.5)
            axis.grid(axis="x", visible=False)
        axes[0].set_ylabel(f"{METRIC_WORDS.get(metric, metric)} per patient")
        if metric == "dice":
            axes[0].set_ylim(-0.03, 1.03)
        named = [f"{at + 1}  " * many + protocol_name(p, counts) for at, p in enumerate(protocols)]
        handles = [_marker(style.SERIES[at % len(style.SERIES)], name) for at, name in enumerate(named)]
        handles.append(Line2D([], [], color=style.INK, linewidth=2, label="mean"))
        handles += [
            Line2D([], [], color=colour, linestyle="--", linewidth=1.2, label=f"floor: {floor}")
            for floor, colour in _floor_colours(floors or {}).items()
        ]
        figure.legend(handles=handles, loc="outside lower center", ncols=2 if many else 3)
        return style.to_png(figure)


def differences_plot(differences: pd.DataFrame, *, metric: str = "dice", baseline: str = "real") -> bytes:
    """Mean differences to the baseline with their confidence intervals around zero, one line per class; PNG.

    Args:
        differences: columns ``method, protocol, class, metric, difference, ci_low, ci_high, p_value``.
        metric: the metric drawn.
        baseline: the protocol compared with, for the axis.

    Raises:
        ValueError: no difference of that metric.
    """
    rows = differences[differences["metric"] == metric].reset_index(drop=True)
    if rows.empty:
        raise ValueError(f"no difference of {metric}")
    protocols = list(dict.fromkeys(rows["protocol"]))
    classes = list(dict.fromkeys(rows["class"]))
    with style.look():
        figure, (axis,) = style.new_axes(size=(8.4, 0.27 * len(rows) + 0.2 * len(classes) + 0.8))
        ticks = []
        for row in rows.to_dict("records"):
            group, inner = classes.index(row["class"]), protocols.index(row["protocol"])
            height = group * (len(protocols) + 0.7) + inner
            _interval(axis, row, height, style.SERIES[1 + inner % (len(style.SERIES) - 1)])
            ticks.append((height, f"{row['class']}, {row['protocol']}"))
        axis.axvline(0, color=style.INK, linewidth=1.0)
        axis.set_yticks([height for height, _ in ticks], [name for _, name in ticks])
        axis.invert_yaxis()
        axis.grid(axis="y", visible=False)
        better = "left" if metric in LESS_IS_BETTER else "right"
        words = METRIC_WORDS.get(metric, metric)
        axis.set_xlabel(f"difference of mean {words} to “{baseline}”, 95 % interval ({better} of the line: better)")
        return style.to_png(figure)


def low_data_curve(
    table: pd.DataFrame, *, classes: Sequence[str], rows: Mapping[str, Mapping[str, str]], metric: str = "dice"
) -> bytes:
    """The mean over test patients by the number of training subjects, one plot per row and class, a line per arm; PNG.

    Args:
        table: rows with columns ``protocol, training_subjects, class, metric, mean, ci_low, ci_high``.
        classes: lesion classes, a column of plots each.
        rows: title of each row of plots (empty for none) to its lines: name of the arm to its protocol in the table. An
            arm looks the same in every row.
        metric: the metric drawn.

    Raises:
        ValueError: no row of that metric and these protocols.
    """
    protocols = [protocol for lines in rows.values() for protocol in lines.values()]
    table = table[table["metric"].eq(metric) & table["protocol"].isin(protocols)]
    if table.empty:
        raise ValueError(f"no row of {metric} for protocols {protocols}")
    arms = list(dict.fromkeys(arm for lines in rows.values() for arm in lines))
    with style.look():
        size = (min(10.0, 2.9 * len(classes) + 1.2), 3.0 * len(rows) + 0.25 * -(-len(arms) // _LEGEND) + 0.5)
        figure, axes = style.new_axes(len(classes), len(rows), size=size, sharey=True)
        cells = [(row, name) for row in rows for name in classes]
        for axis, (row, name) in zip(axes, cells, strict=True):
            _size_lines(axis, table[table["class"] == name], rows[row], arms)
            axis.set_title(f"{name}, {row}" if row else name)
        for axis in axes[:: len(classes)]:
            axis.set_ylabel(METRIC_WORDS.get(metric, metric))
        for axis in axes[-len(classes) :]:
            axis.set_xlabel("training subjects")
        handles, labels = axes[0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncols=min(_LEGEND, len(labels)))
        return style.to_png(figure)


def _size_lines(axis: Axes, table: pd.DataFrame, lines: Mapping[str, str], arms: Sequence[str]) -> None:
    """A line for each arm over the sizes of the training set, with intervals side by side."""
    sizes = sorted(table["training_subjects"].unique())
    for arm, protocol in lines.items():
        own, at = table[table["protocol"] == protocol].sort_values("training_subjects"), arms.index(arm)
        places = np.array([sizes.index(size) for size in own["training_subjects"]], float)
        places += (at - (len(arms) - 1) / 2) * _NUDGE
        colour = style.SERIES[at % len(style.SERIES)]
        line = "o-" if at < len(style.SERIES) else "s--"  # where colours come a second time
        axis.vlines(places, own["ci_low"], own["ci_high"], color=colour, linewidth=1.0)
        axis.plot(places, own["mean"], line, color=colour, markersize=4, linewidth=1.4, label=arm)
    axis.set_xticks(range(len(sizes)), [str(int(size)) for size in sizes])


def accuracy_bars(
    table: pd.DataFrame,
    *,
    methods: Sequence[str],
    sequences: Sequence[str],
    classes: Sequence[str],
    metric: str = "pixel_accuracy",
) -> bytes:
    """Bars per class with confidence intervals, one plot per sequence; the methods (and floors) side by side; PNG.

    Args:
        table: rows with columns ``method, sequence, class, metric, mean, ci_low, ci_high`` (published column unused).
        methods: methods and floors in the order drawn; the first is ours.
        sequences: sequences, one plot each.
        classes: lesion classes along the axis.
        metric: the metric drawn.

    Raises:
        ValueError: no row of that metric and these methods.
    """
    rows = table[table["metric"].eq(metric) & table["method"].isin(methods)]
    if rows.empty:
        raise ValueError(f"no row of {metric} for methods {list(methods)}")
    with style.look():
        figure, axes = style.new_axes(len(sequences), size=(min(10.0, 2.6 * len(sequences) + 0.7), 3.0), sharey=True)
        for axis, sequence in zip(axes, sequences, strict=True):
            _bars(axis, rows[rows["sequence"] == sequence], methods, classes)
            axis.set_title(sequence)
        axes[0].set_ylim(bottom=0)  # shared; set when all bars are drawn, for it ends the automatic scaling
        axes[0].set_ylabel(METRIC_WORDS.get(metric, metric))
        handles, labels = axes[0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncols=min(4, len(labels)))
        return style.to_png(figure)


def _patients(axis: Axes, rows: pd.DataFrame, protocols: Sequence[str]) -> None:
    wide = rows.pivot_table(index="subject", columns="protocol", values="value", sort=True).reindex(
        columns=list(protocols)
    )
    places = np.arange(len(protocols))
    for values in wide.to_numpy():
        axis.plot(places, values, color="#b9c2cb", linewidth=0.8, zorder=1)
    for at, protocol in enumerate(protocols):
        values = wide[protocol].dropna().to_numpy()
        if len(values) >= BOX_FROM:
            axis.boxplot(values, positions=[at], widths=0.5, showfliers=False, medianprops={"color": style.MUTED})
        axis.scatter(
            np.full(len(values), at),
            values,
            s=26,
            color=style.SERIES[at % len(style.SERIES)],
            edgecolor="white",
            zorder=3,
        )
        if len(values):
            axis.hlines(values.mean(), at - 0.27, at + 0.27, color=style.INK, linewidth=2, zorder=4)


def _floor_colours(floors: Mapping[str, object]) -> dict[str, str]:
    return dict(zip(floors, (style.WARNING, "#8a5fb0", "#9c6b3f"), strict=False))


def _floor_lines(axis: Axes, floors: Mapping[str, float | None]) -> None:
    for name, colour in _floor_colours(floors).items():
        value = floors[name]
        if value is not None:
            axis.axhline(value, color=colour, linestyle="--", linewidth=1.2, zorder=2)


def _marker(colour: str, label: str) -> Line2D:
    return Line2D([], [], marker="o", linestyle="", color=colour, markeredgecolor="white", markersize=7, label=label)


def _interval(axis: Axes, row: Mapping[Hashable, Any], height: float, colour: str) -> None:
    low, high, middle = (float(row[name]) for name in ("ci_low", "ci_high", "difference"))
    axis.hlines(height, low, high, color=colour, linewidth=2.4)
    axis.plot([middle], [height], "o", color=colour, markeredgecolor="white", markersize=8, zorder=3)
    p_value = formats.p_value(float(row["p_value"]))
    note = f"  {formats.signed(middle)}   p {p_value if p_value.startswith('<') else '= ' + p_value}"
    axis.annotate(note, (max(high, 0.0), height), va="center", fontsize=8.5, color=style.MUTED)
    axis.margins(x=0.16)


def _bars(axis: Axes, rows: pd.DataFrame, methods: Sequence[str], classes: Sequence[str]) -> None:
    width = 0.8 / len(methods)
    colours = [style.ACCENT, "#c3ccd4", "#8d99a5", *style.SERIES[3:]]
    for at, method in enumerate(methods):
        own = rows[rows["method"] == method].drop_duplicates("class").set_index("class").reindex(list(classes))
        places = np.arange(len(classes)) + (at - (len(methods) - 1) / 2) * width
        mean = own["mean"].to_numpy(dtype=float)
        reach = np.abs(np.stack([mean - own["ci_low"].to_numpy(float), own["ci_high"].to_numpy(float) - mean]))
        axis.bar(places, mean, width * 0.92, color=colours[at % len(colours)], label=method)
        axis.errorbar(places, mean, np.nan_to_num(reach), fmt="none", ecolor=style.INK, elinewidth=0.9)
    axis.set_xticks(range(len(classes)), [textwrap.fill(name, 10) for name in classes])
    axis.grid(axis="x", visible=False)
