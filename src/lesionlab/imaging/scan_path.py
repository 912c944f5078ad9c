"""Where a scan lies: a file, one channel of a 4D file, or one series in a folder of DICOM files.

==================================  ==================================================================================
``p01/T1w.nii.gz``                  a file
``p01.nii.gz#channel=2``            the third volume of a 4D file
``p01#series=4f1c...``              the series of that key in a folder of DICOM files, see :func:`digest`
``scans#folder=9ab0...&series=...`` the same where the folder's own name is to stay unsaid: found below ``scans`` by the
                                    key of its name
==================================  ==================================================================================
"""

from __future__ import annotations

import hashlib
import os
import re
import stat
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

_DIGEST_BYTES = 6  # 12 hexadecimal digits: among ten thousand names two meet once in five million cohorts
_CHANNEL = re.compile(r"(?P<place>.+)#channel=(?P<channel>\d+)", re.DOTALL)
_SERIES = re.compile(r"(?P<place>.+?)#(?:folder=(?P<folder>[0-9a-f]+)&)?series=(?P<series>[0-9a-f]+)", re.DOTALL)


class ScanPath(NamedTuple):
    """A scan's place, taken apart: ``channel`` is ``None`` and ``series`` "" where they are not given."""

    place: Path
    channel: int | None = None
    series: str = ""


def scan_path(path: Path | str) -> ScanPath:
    """Take a scan's path apart. A file that has such a name itself is that file."""
    text = str(path)
    if "#" not in text or Path(text).exists():
        return ScanPath(Path(text))
    if found := _CHANNEL.fullmatch(text):
        return ScanPath(Path(found["place"]), channel=int(found["channel"]))
    if found := _SERIES.fullmatch(text):
        place = Path(found["place"])
        return ScanPath(_folder_of(str(place), found["folder"]) if found["folder"] else place, series=found["series"])
    return ScanPath(Path(text))


def channel_path(file: Path, channel: int) -> str:
    """The path of one volume of a 4D file."""
    return f"{file}#channel={channel}"


def series_path(folder: Path, series: str, below: Path | None = None) -> str:
    """The path of one DICOM series; with ``below`` the folder's name is replaced by its key."""
    if below is None:
        return f"{folder}#series={series}"
    return f"{below}#folder={digest(folder.relative_to(below).as_posix())}&series={series}"


def digest(text: str) -> str:
    """A short key that stands for a name or a UID without saying it."""
    return hashlib.blake2b(text.encode(errors="surrogateescape"), digest_size=_DIGEST_BYTES).hexdigest()


def folder_files(folder: Path) -> list[Path]:
    """All files below a folder in the order of their names; hidden ones are left out, linked folders not entered.

    What says nothing of itself (a dead link, no permission) counts as a file, so that it is missed.
    """
    return sorted(_walk(folder))


def _walk(folder: Path) -> Iterator[Path]:
    for parent, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith(".")]
        yield from (path for name in names if not name.startswith(".") and _is_file(path := Path(parent, name)))


def _is_file(path: Path) -> bool:
    try:
        return stat.S_ISREG(path.stat().st_mode)
    except OSError:
        return True


@lru_cache(maxsize=10_000)
def _folder_of(root: str, key: str) -> Path:
    """The folder below the root whose relative name has that key; one that is not there where none has."""
    for parent, folders, _ in os.walk(root):
        for name in sorted(folders):
            relative = Path(parent, name).relative_to(root)
            if digest(relative.as_posix()) == key:
                return Path(root, relative)
    return Path(root, f"no folder of key {key}")
