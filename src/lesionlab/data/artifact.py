"""Artifacts: folders that are whole or absent, and that know what they were made from."""

from __future__ import annotations

import json
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from lesionlab.data.fingerprints import fingerprint_of

__all__ = [
    "ASIDE",
    "RECEIPT",
    "aside_of",
    "fingerprint_of",
    "is_current",
    "read_receipt",
    "remove_leftovers",
    "write_json",
    "writing",
]

#: The file in each artifact that tells its fingerprint and the size of every file.
RECEIPT = "receipt.json"

#: In the name of everything that is not whole yet.
ASIDE = ".aside-"


@contextmanager
def writing(folder: Path | str, fingerprint: str) -> Iterator[Path]:
    """Write a folder aside and put it in its place when the block ends well; an older one is replaced.

    A process that is killed leaves the older folder or none, never a half-written one, and beside it a hidden folder
    that the next call removes. Where the block raises, the older folder stays.

    Args:
        folder: the artifact's place.
        fingerprint: of everything that it is made from, kept in its receipt.

    Yields:
        An empty folder to write into.
    """
    folder = Path(folder)
    remove_leftovers(folder)
    aside = aside_of(folder)
    aside.mkdir(parents=True)
    try:
        yield aside
        seal(aside, fingerprint)
        _replace(aside, folder)
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def seal(folder: Path | str, fingerprint: str) -> None:
    """Declare a folder whole as it stands: write its receipt. For folders filled in place, such as trainings."""
    write_json(Path(folder) / RECEIPT, {"fingerprint": fingerprint, "files": _sizes(Path(folder))})


def is_current(folder: Path | str, fingerprint: str) -> bool:
    """Whether the folder is there, was made from what the fingerprint stands for, and lacks or shortens no file."""
    receipt = read_receipt(folder)
    return receipt is not None and receipt["fingerprint"] == fingerprint


def read_receipt(folder: Path | str) -> dict[str, Any] | None:
    """The receipt of a whole artifact: ``fingerprint`` and ``files`` (name to bytes).

    ``None`` where the folder is absent, or a file of it is missing or has another size than when it was written.
    """
    try:
        receipt = json.loads((Path(folder) / RECEIPT).read_text(encoding="utf-8"))
        files, _ = receipt["files"], receipt["fingerprint"]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    there = _sizes(Path(folder))
    return receipt if all(there.get(name) == size for name, size in files.items()) else None


def remove_leftovers(folder: Path | str) -> None:
    """Remove what a killed process left beside an artifact's place."""
    folder = Path(folder)
    for beside in folder.parent.iterdir() if folder.parent.is_dir() else ():
        if beside.name.startswith(f".{folder.name}{ASIDE}"):
            shutil.rmtree(beside, ignore_errors=True)


def aside_of(path: Path) -> Path:
    """A hidden name beside a file or folder, not used before, to write to first."""
    return path.with_name(f".{path.name}{ASIDE}{uuid.uuid4().hex}")


def write_json(path: Path, content: object) -> None:
    """Write JSON (NumPy numbers and arrays as well), aside first and then renamed."""
    aside = aside_of(path)
    aside.write_text(json.dumps(content, indent=2, default=_plain) + "\n", encoding="utf-8")
    aside.replace(path)


def _plain(value: Any) -> Any:
    if hasattr(value, "tolist"):
        return value.tolist()
    if isinstance(value, Path):
        return str(value)
    raise TypeError(f"a {type(value).__name__} is no JSON: {value!r}")


def _sizes(folder: Path) -> dict[str, int]:
    inside = sorted(path for path in folder.rglob("*") if path.is_file() and path.name != RECEIPT)
    return {path.relative_to(folder).as_posix(): path.stat().st_size for path in inside}


def _replace(aside: Path, folder: Path) -> None:
    """Put a folder in another's place. None can be renamed over a full one, so the older one steps aside first."""
    old = aside_of(folder)
    if folder.exists():
        folder.replace(old)
    aside.replace(folder)
    shutil.rmtree(old, ignore_errors=True)
