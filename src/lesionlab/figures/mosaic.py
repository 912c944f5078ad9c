"""Mosaics: small pictures in rows and columns, with contours, titles and a legend, as PNG or WebP bytes."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

import matplotlib
import numpy as np
from PIL import Image, ImageDraw, ImageFont
from scipy import ndimage

from lesionlab.figures import style

PAPER = (255, 255, 255)
EMPTY = (244, 246, 248)
TITLE_LINE = 1.35  # line height over font size
SWATCH = 0.9  # side of a legend's swatch over font size


@dataclass(frozen=True)
class Tile:
    """One small picture.

    Attributes:
        pixels: ``(H, W)`` in [0, 1], shown gray, or ``(H, W, 3)`` uint8 colours.
        contours: masks ``(H, W)`` whose borders are drawn, each with its ``#rrggbb`` colour.
        caption: a few letters in the picture's upper left corner.
        smooth: whether pixels are interpolated when the picture is enlarged (never for label maps).
    """

    pixels: np.ndarray
    contours: tuple[tuple[np.ndarray, str], ...] = ()
    caption: str = ""
    smooth: bool = True


@dataclass(frozen=True)
class Layout:
    """How a mosaic is set.

    Attributes:
        tile: longest side of a picture, pixels.
        gap: space between pictures, pixels.
        font: letter height, pixels.
        column_titles: a title above each column.
        groups: titles over several columns, each with the number of columns it spans; groups stand apart.
        row_titles: a title left of each row.
        row_groups: numbers of rows that belong together; they stand apart.
        legend: names and ``#rrggbb`` colours below the pictures.
    """

    tile: int = 128
    gap: int = 3
    font: int = 13
    column_titles: Sequence[str] = ()
    groups: Sequence[tuple[str, int]] = ()
    row_titles: Sequence[str] = ()
    row_groups: Sequence[int] = ()
    legend: Sequence[tuple[str, str]] = field(default=())


def mosaic(rows: Sequence[Sequence[Tile | None]], layout: Layout | None = None) -> Image.Image:
    """Set the tiles in rows and columns; None leaves a place empty.

    All tiles get the size of the first one's proportions. Raises ``ValueError`` where there is no tile at all.
    """
    layout = layout or Layout()
    first = next((tile for row in rows for tile in row if tile is not None), None)
    if first is None:
        raise ValueError("a mosaic needs at least one picture")
    height, width = first.pixels.shape[:2]
    scale = layout.tile / max(height, width)
    size = max(1, round(width * scale)), max(1, round(height * scale))
    columns = max(len(row) for row in rows)
    lefts, right = _column_places(columns, size[0], layout)
    tops, bottom = _row_places(len(rows), size[1], layout)
    legend = round(2 * layout.font) if layout.legend else 0
    canvas = Image.new("RGB", (max(right, lefts[0] + _legend_width(layout)), bottom + legend), PAPER)
    draw = ImageDraw.Draw(canvas)
    for top, row in zip(tops, rows, strict=True):
        for left, tile in zip(lefts, row, strict=False):
            if tile is not None:
                canvas.paste(_drawn(tile, size, layout.font), (left, top))
    _draw_titles(draw, lefts, tops, size, layout)
    if layout.legend:
        _draw_legend(draw, lefts[0], bottom + layout.font // 2, layout)
    return canvas


def png(image: Image.Image) -> bytes:
    """The picture without loss."""
    stream = io.BytesIO()
    image.save(stream, format="PNG", optimize=True)
    return stream.getvalue()


def webp(image: Image.Image, quality: int = 75) -> bytes:
    """The picture with losses hardly seen, an eighth of the PNG's size; every browser reads it."""
    stream = io.BytesIO()
    image.save(stream, format="WEBP", quality=quality, method=4)
    return stream.getvalue()


def windowed(image: np.ndarray, low: float, high: float) -> np.ndarray:
    """The image as [0, 1] between two intensities; NaN and what lies outside is clipped."""
    span = high - low if high > low else 1.0
    return np.clip(np.nan_to_num((np.asarray(image, dtype=np.float32) - low) / span), 0.0, 1.0)


def from_signed(image: np.ndarray) -> np.ndarray:
    """An image in [-1, 1], as slices hold it, as [0, 1]."""
    return windowed(image, -1.0, 1.0)


def border(mask: np.ndarray, size: tuple[int, int], thickness: int = 1) -> np.ndarray:
    """The inner border of a mask ``(H, W)`` enlarged to ``size`` (width, height), as ``(height, width)`` bool."""
    soft = Image.fromarray((np.asarray(mask) > 0).astype(np.uint8) * 255).resize(size, Image.Resampling.BILINEAR)
    solid = np.asarray(soft) > 127
    return solid & ~ndimage.binary_erosion(solid, iterations=thickness, border_value=0)


@lru_cache
def _font(size: int, bold: bool = False) -> ImageFont.FreeTypeFont:
    # Matplotlib ships its fonts, so the pictures look alike on every machine.
    name = "DejaVuSans-Bold.ttf" if bold else "DejaVuSans.ttf"
    return ImageFont.truetype(str(Path(matplotlib.get_data_path()) / "fonts" / "ttf" / name), size)


def _drawn(tile: Tile, size: tuple[int, int], font: int) -> Image.Image:
    pixels = tile.pixels if tile.pixels.ndim == 3 else np.round(tile.pixels * 255).astype(np.uint8)
    how = Image.Resampling.BICUBIC if tile.smooth else Image.Resampling.NEAREST
    picture = np.array(Image.fromarray(pixels).convert("RGB").resize(size, how))
    for mask, colour in tile.contours:
        picture[border(mask, size)] = style.rgb(colour)
    drawn = Image.fromarray(picture)
    if tile.caption:
        ImageDraw.Draw(drawn).text((3, 1), tile.caption, fill=(235, 240, 245), font=_font(max(9, font - 2)))
    return drawn


def _width(text: str, size: int, bold: bool = False) -> int:
    return round(max(_font(size, bold).getlength(line) for line in text.split("\n")))


def _column_places(columns: int, width: int, layout: Layout) -> tuple[list[int], int]:
    titles = [_width(title, layout.font) for title in layout.row_titles]
    left = max(titles) + layout.font if titles else 0
    lefts: list[int] = []
    end = left
    for title, count in layout.groups or [("", columns)]:
        lefts += [left + at * (width + layout.gap) for at in range(count)]
        # A group is as wide as its titles at least, so that they never run into each other.
        last = layout.column_titles[len(lefts) - 1] if len(layout.column_titles) >= len(lefts) else ""
        below = max(width, _width(last, layout.font))
        end = max(lefts[-1] + below, left + _width(title, layout.font, bold=True))
        left = end + 4 * layout.gap
    return lefts, end


def _row_places(rows: int, height: int, layout: Layout) -> tuple[list[int], int]:
    lines = bool(layout.groups) + max((title.count("\n") + 1 for title in layout.column_titles), default=0)
    head = round(lines * layout.font * TITLE_LINE) + (layout.gap if lines else 0)
    breaks = np.cumsum(layout.row_groups)[:-1] if layout.row_groups else np.array([], dtype=int)
    apart = [layout.gap * 4 * int((breaks <= at).sum()) for at in range(rows)]
    tops = [head + at * (height + layout.gap) + apart[at] for at in range(rows)]
    return tops, tops[-1] + height


def _draw_titles(
    draw: ImageDraw.ImageDraw, lefts: list[int], tops: list[int], size: tuple[int, int], layout: Layout
) -> None:
    start = 0
    for title, count in layout.groups:
        draw.text((lefts[start], 0), title, fill=style.INK, font=_font(layout.font, bold=True))
        start += count
    below = round(layout.font * TITLE_LINE) if layout.groups else 0
    for left, title in zip(lefts, layout.column_titles, strict=False):
        draw.multiline_text((left, below), title, fill=style.MUTED, font=_font(layout.font), spacing=2)
    for top, title in zip(tops, layout.row_titles, strict=False):
        middle = (lefts[0] - layout.font // 2, top + size[1] // 2)
        draw.multiline_text(middle, title, fill=style.INK, font=_font(layout.font), anchor="rm", align="right")


def _legend_width(layout: Layout) -> int:
    return sum(_width(name, layout.font) + 3 * layout.font for name, _ in layout.legend)


def _draw_legend(draw: ImageDraw.ImageDraw, left: int, top: int, layout: Layout) -> None:
    side = round(layout.font * SWATCH)
    for name, colour in layout.legend:
        draw.rectangle((left, top + 2, left + side, top + 2 + side), fill=colour, outline="#7a838c")
        draw.text((left + side + 6, top), name, fill=style.INK, font=_font(layout.font))
        left += side + 6 + _width(name, layout.font) + round(1.4 * layout.font)
