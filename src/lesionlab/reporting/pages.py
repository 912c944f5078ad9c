"""What the HTML pages share: the templates' environment, pictures inside the page, and tables."""

from __future__ import annotations

import base64
import io
import re
import zlib
from collections.abc import Collection
from functools import lru_cache

import jinja2
import pandas as pd
from PIL import Image

from lesionlab.figures import formats

CSS_DPI = 96
_KINDS = ((b"\x89PNG\r\n\x1a\n", "image/png"), (b"\xff\xd8\xff", "image/jpeg"), (b"RIFF", "image/webp"))


@lru_cache
def environment() -> jinja2.Environment:
    """The templates of this package; everything is escaped, an unknown variable is an error."""
    made = jinja2.Environment(
        loader=jinja2.PackageLoader("lesionlab.reporting", "templates"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters.update(
        data_uri=data_uri, shown_width=shown_width, number=formats.number, p=formats.p_value, duration=formats.duration
    )
    return made


def file_name(name: str) -> str:
    """A name as part of a file's name on any system: letters, digits, ``-``, ``.`` and ``_``.

    Names that hold anything else get a checksum, so that two of them never share a file.
    """
    safe = re.sub(r"[^A-Za-z0-9._-]", "_", name)
    return safe if safe == name else f"{safe}-{zlib.crc32(name.encode('utf-8', 'surrogatepass')):08x}"


def data_uri(picture: bytes) -> str:
    """A PNG, JPEG or WebP as a ``data:`` address, so that the page needs no other file.

    Raises:
        ValueError: the bytes are none of them.
    """
    return f"data:{_kind(picture)};base64,{base64.b64encode(picture).decode('ascii')}"


def shown_width(picture: bytes) -> int:
    """The width in CSS pixels at which a picture is shown: an inch is 96, so that all plots' letters have one size.

    Pictures that do not say their resolution are shown pixel by pixel.
    """
    _kind(picture)  # before PIL, whose error names no cure
    with Image.open(io.BytesIO(picture)) as opened:
        return round(opened.width * CSS_DPI / float(opened.info.get("dpi", (CSS_DPI,))[0]))


def cells(frame: pd.DataFrame, numeric: Collection[str] = ()) -> tuple[list[tuple[str, bool]], list[list[str]]]:
    """A table for the template: columns as (name, whether it is set as numbers), and rows of text.

    Args:
        frame: any table; floats are written with three significant digits of the column's largest.
        numeric: columns of text that hold numbers.
    """
    heads = [(str(name), name in numeric or pd.api.types.is_numeric_dtype(frame[name])) for name in frame.columns]
    columns = [_text(frame[name]) for name in frame.columns]
    return heads, [list(row) for row in zip(*columns, strict=True)]


def _kind(picture: bytes) -> str:
    for start, kind in _KINDS:
        if picture.startswith(start):
            return kind
    raise ValueError("a picture for a page is PNG, JPEG or WebP bytes")


def _text(column: pd.Series) -> list[str]:
    if pd.api.types.is_integer_dtype(column):
        return [formats.whole(value) for value in column]
    if pd.api.types.is_float_dtype(column):
        decimals = formats.decimals_for(column)
        return [formats.number(value, decimals) for value in column]
    return [formats.MISSING if value is None or value != value else str(value) for value in column]
