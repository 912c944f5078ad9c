"""The files that a MetaImage header (.mhd) names: its voxels lie in them."""

from __future__ import annotations

import re
from pathlib import Path

_SUFFIXES = (".mhd", ".mha")
_HEADER_BYTES = 1 << 20  # a header is text of a kilobyte; a list of slices may make it some hundred
_ELEMENT = re.compile(rb"^[ \t]*ElementDataFile[ \t]*[=:][ \t]*(?P<named>[^\r\n]*)", re.MULTILINE)
_PATTERN = re.compile(r"(?P<name>.*%\S*d\S*)\s+(?P<first>\d+)\s+(?P<last>\d+)(?:\s+(?P<step>\d+))?")
_LOCAL, _LIST = "LOCAL", "LIST"


def data_files(path: Path) -> list[Path]:
    """The files of a MetaImage's voxels besides the header; none where they are in the header's own file.

    Raises:
        OSError: the header cannot be read.
    """
    if path.suffix.lower() not in _SUFFIXES:
        return []
    with path.open("rb") as file:
        text = file.read(_HEADER_BYTES)
    found = _ELEMENT.search(text)
    if found is None:
        return []
    named = found["named"].decode(errors="surrogateescape").strip()
    if named.upper().split(" ")[0] == _LIST:
        lines = text[found.end() :].decode(errors="surrogateescape").splitlines()
        return [path.parent / line.strip() for line in lines if line.strip()]
    if not named or named.upper() == _LOCAL:
        return []
    return [path.parent / name for name in _numbered(named)]


def _numbered(named: str) -> list[str]:
    """The names behind ``slice%03d.raw 1 20 1``; any other text is one name."""
    found = _PATTERN.fullmatch(named)
    if found is None:
        return [named]
    step = max(1, int(found["step"] or 1))
    try:
        return [found["name"] % number for number in range(int(found["first"]), int(found["last"]) + 1, step)]
    except (TypeError, ValueError):  # no pattern after all
        return [named]
