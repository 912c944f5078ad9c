"""Pictures of slices: the cohort's montage, real beside synthetic, and a synthesizer's progress."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from lesionlab.figures import style
from lesionlab.figures.mosaic import Layout, Tile, from_signed, mosaic, png

FIRST_LESION = 2  # the first lesion class of a label map
DIFFERENCE = 0.5  # on the scale of [-1, 1], shown white
ZOOM, LEAST = 1.5, 0.2  # the enlarged part over the lesion's extent, and the least share of the picture
WIDEST = 8  # more columns than this and a panel's three kinds of picture go below each other


@dataclass(frozen=True)
class PanelRow:
    """One test slice as the report shows it.

    Attributes:
        title: what the slice is, e.g. ``phantom-03, plane 14``.
        label: ``(H, W)`` label map.
        real: ``(C, H, W)`` in [-1, 1].
        synthetic: ``(C, H, W)`` in [-1, 1].
        confidence: ``(C, H, W)`` confidence c in [0, 1], at the images' size or smaller; None where there is none.
    """

    title: str
    label: np.ndarray
    real: np.ndarray
    synthetic: np.ndarray
    confidence: np.ndarray | None = None


def montage(
    images: np.ndarray,
    row_titles: Sequence[str],
    sequences: Sequence[str],
    *,
    labels: np.ndarray | None = None,
    lesion_classes: Sequence[str] = (),
    label_column: bool = False,
    tile: int = 128,
) -> bytes:
    """Subjects in rows, sequences in columns, as PNG.

    Args:
        images: ``(rows, C, H, W)`` in [-1, 1].
        row_titles: one title per row.
        sequences: the C sequences.
        labels: ``(rows, H, W)`` label maps whose lesion classes are outlined, where given.
        lesion_classes: lesion classes in the order of their codes (2, 3, ...).
        label_column: also show the label maps in colour, in a column of their own.
        tile: longest side of a picture, pixels.
    """
    rows: list[list[Tile | None]] = []
    for at, image in enumerate(images):
        outlines = () if labels is None else lesion_contours(labels[at], lesion_classes)
        row: list[Tile | None] = [Tile(from_signed(channel), outlines) for channel in image]
        if labels is not None and label_column:
            row.insert(0, label_tile(labels[at], lesion_classes))
        rows.append(row)
    shows_labels = labels is not None and label_column
    titles = (["label map"] if shows_labels else []) + list(sequences)
    legend = style.label_legend(lesion_classes)[0 if shows_labels else 1 :] if labels is not None else []
    layout = Layout(tile=tile, column_titles=titles, row_titles=list(row_titles), legend=legend)
    return png(mosaic(rows, layout))


class LabelledSlice(NamedTuple):
    """A slice to be shown with its label map: ``(H, W)`` labels, ``(C, H, W)`` images in [-1, 1]."""

    title: str
    labels: np.ndarray
    images: np.ndarray


def labelled_montage(
    rows: Iterable[LabelledSlice], sequences: Sequence[str], lesion_classes: Sequence[str], *, tile: int = 128
) -> bytes:
    """Slices in rows: the label map in colour, then every sequence with the lesion outlined, as PNG."""
    titles, labels, images = zip(*rows, strict=True)
    return montage(
        np.stack(images),
        titles,
        sequences,
        labels=np.stack(labels),
        lesion_classes=lesion_classes,
        label_column=True,
        tile=tile,
    )


def synthesis_panel(
    rows: Sequence[PanelRow], sequences: Sequence[str], lesion_classes: Sequence[str], *, tile: int = 128
) -> bytes:
    """Label map, real, synthetic and 1 - confidence of test slices, as PNG.

    Few sequences: one row per slice, real, synthetic and confidence side by side for each sequence. Many: the three
    below each other, so that each picture stays large enough to judge.
    """
    kinds = 2 + any(row.confidence is not None for row in rows)
    if 1 + kinds * len(sequences) <= WIDEST:
        return _wide_panel(rows, sequences, lesion_classes, kinds, tile)
    return _tall_panel(rows, sequences, lesion_classes, kinds, tile)


class ComparedSlice(NamedTuple):
    """A label map ``(H, W)`` as several have drawn it: name to ``(C, H, W)`` images in [-1, 1], the real one first."""

    title: str
    label: np.ndarray
    images: Mapping[str, np.ndarray]


def comparison_panel(
    rows: Sequence[ComparedSlice], sequences: Sequence[str], lesion_classes: Sequence[str], *, tile: int = 96
) -> bytes:
    """The real slice and every drawing of its label map below each other, as PNG.

    Of each sequence the slice, its lesion enlarged, and there the absolute difference to the real slice, white from
    ``DIFFERENCE`` on.
    """
    tiles: list[list[Tile | None]] = []
    names: list[str] = []
    for row in rows:
        rows_shown, columns_shown = zoom_on(row.label)
        outlines = lesion_contours(row.label, lesion_classes)
        real = next(iter(row.images.values()))
        for at, (name, images) in enumerate(row.images.items()):
            line: list[Tile | None] = [None if at else label_tile(row.label, lesion_classes)]
            for image, true in zip(images, real, strict=True):
                near, distance = image[rows_shown, columns_shown], np.abs(image - true)[rows_shown, columns_shown]
                line += [Tile(from_signed(image), () if at else outlines), Tile(from_signed(near))]
                line.append(Tile(np.clip(distance / DIFFERENCE, 0.0, 1.0)) if at else None)
            tiles.append(line)
            names.append(name if at else f"{row.title}\n{name}")
    layout = Layout(
        tile=tile,
        column_titles=["", *(["slice", "lesion", "difference"] * len(sequences))],
        groups=[("label map", 1), *((sequence, 3) for sequence in sequences)],
        row_titles=names,
        row_groups=[len(row.images) for row in rows],
        legend=style.label_legend(lesion_classes),
    )
    return png(mosaic(tiles, layout))


def zoom_on(label: np.ndarray) -> tuple[slice, slice]:
    """Rows and columns around the lesion of a label map ``(H, W)``, in its proportions; all without a lesion."""
    inside = np.argwhere(label >= FIRST_LESION)
    if not len(inside):
        return slice(None), slice(None)
    size = np.array(label.shape)
    low, high = inside.min(axis=0), inside.max(axis=0) + 1
    share = float(np.clip(ZOOM * ((high - low) / size).max(), LEAST, 1.0))
    side = np.ceil(share * size).astype(int)
    start = np.clip((low + high - side) // 2, 0, size - side)
    return slice(int(start[0]), int(start[0] + side[0])), slice(int(start[1]), int(start[1] + side[1]))


def moments_panel(
    moments: Mapping[str, np.ndarray],
    real: np.ndarray,
    labels: np.ndarray,
    titles: Sequence[str],
    sequences: Sequence[str],
    lesion_classes: Sequence[str],
    *,
    tile: int = 128,
) -> bytes:
    """A synthesizer at several moments of its training beside the real slices, as PNG.

    Args:
        moments: name of each moment ("step 100") and its images ``(N, C, H, W)`` in [-1, 1], in time's order.
        real: ``(N, C, H, W)`` in [-1, 1].
        labels: ``(N, H, W)`` label maps the synthesizer was given.
        titles: what each of the N slices is.
        sequences: the C sequences.
        lesion_classes: lesion classes in the order of their codes.
        tile: longest side of a picture, pixels.
    """
    rows: list[list[Tile | None]] = []
    names: list[str] = []
    for at, title in enumerate(titles):
        for first, (moment, images) in zip([True] + [False] * len(moments), moments.items(), strict=False):
            head = label_tile(labels[at], lesion_classes) if first else None
            rows.append([head, *(Tile(from_signed(channel)) for channel in images[at])])
            names.append(f"{title}\n{moment}" if first else moment)
        rows.append([None, *(Tile(from_signed(channel)) for channel in real[at])])
        names.append("real")
    layout = Layout(
        tile=tile,
        column_titles=["label map", *sequences],
        row_titles=names,
        row_groups=[len(moments) + 1] * len(titles),
        legend=style.label_legend(lesion_classes),
    )
    return png(mosaic(rows, layout))


def label_tile(label: np.ndarray, lesion_classes: Sequence[str]) -> Tile:
    """A label map in its colours."""
    return Tile(style.coloured(label, lesion_classes), smooth=False)


def lesion_contours(label: np.ndarray, lesion_classes: Sequence[str]) -> tuple[tuple[np.ndarray, str], ...]:
    """The outline of each lesion class of a label map, in its colour."""
    colours = style.class_colours(lesion_classes).values()
    return tuple((label == code, colour) for code, colour in enumerate(colours, start=2))


def _three(row: PanelRow, channel: int, kinds: int) -> list[Tile | None]:
    tiles: list[Tile | None] = [Tile(from_signed(row.real[channel])), Tile(from_signed(row.synthetic[channel]))]
    if kinds > 2:
        unsure = None if row.confidence is None else np.clip(1.0 - row.confidence[channel], 0.0, 1.0)
        tiles.append(None if unsure is None else Tile(unsure))
    return tiles


def _wide_panel(
    rows: Sequence[PanelRow], sequences: Sequence[str], lesion_classes: Sequence[str], kinds: int, tile: int
) -> bytes:
    tiles = [
        [label_tile(row.label, lesion_classes), *(t for at in range(len(sequences)) for t in _three(row, at, kinds))]
        for row in rows
    ]
    layout = Layout(
        tile=tile,
        column_titles=["", *(["real", "synthetic", "1 − c"][:kinds] * len(sequences))],
        groups=[("label map", 1), *((sequence, kinds) for sequence in sequences)],
        row_titles=[row.title for row in rows],
        legend=style.label_legend(lesion_classes),
    )
    return png(mosaic(tiles, layout))


def _tall_panel(
    rows: Sequence[PanelRow], sequences: Sequence[str], lesion_classes: Sequence[str], kinds: int, tile: int
) -> bytes:
    tiles: list[list[Tile | None]] = []
    names: list[str] = []
    for row in rows:
        columns = [_three(row, at, kinds) for at in range(len(sequences))]
        for kind, name in enumerate(["real", "synthetic", "1 − c"][:kinds]):
            head = label_tile(row.label, lesion_classes) if kind == 0 else None
            tiles.append([head, *(column[kind] for column in columns)])
            names.append(f"{row.title}\n{name}" if kind == 0 else name)
    layout = Layout(
        tile=tile,
        column_titles=["label map", *sequences],
        row_titles=names,
        row_groups=[kinds] * len(rows),
        legend=style.label_legend(lesion_classes),
    )
    return png(mosaic(tiles, layout))
