"""Where a scan lies: a file, a folder of files (a DICOM series), or a part of a file (``file.nii.gz#channel=2``)."""

from __future__ import annotations

import re
from pathlib import Path

_PART = re.compile(r"(?P<place>.+)#(?P<name>[a-z_]+)=(?P<value>[^/#=]+)")


def split_part(path: Path | str) -> tuple[Path, dict[str, str]]:
    """The file or folder that a scan's path names, and which part of it is meant.

    Args:
        path: a path, with ``#name=value`` behind it where only a part of the file is the scan. A file that bears such
            an ending in its own name is meant whole.

    Returns:
        The path without the ending, and ``{name: value}``, empty for the whole.
    """
    found = _PART.fullmatch(str(path))
    if found is None or Path(path).exists():
        return Path(path), {}
    return Path(found["place"]), {found["name"]: found["value"]}
