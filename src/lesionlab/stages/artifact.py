"""Artifacts: folders that are whole or absent, also after a power cut, with a record of what they were made from."""

from __future__ import annotations

import json
import os
import shutil
import uuid
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import Any

from lesionlab.stages.fingerprints import fingerprint_of
from lesionlab.stages.lock import RUNS

__all__ = [
    "ASIDE",
    "RECEIPT",
    "aside_of",
    "fingerprint_of",
    "is_current",
    "is_whole",
    "read_receipt",
    "read_unverified_receipt",
    "remove_leftovers",
    "write_json",
    "writing",
]

#: The file in each artifact that holds its fingerprint and the size of every file.
RECEIPT = "receipt.json"

#: Part of the name of everything that is not whole yet.
ASIDE = ".aside-"


@contextmanager
def writing(
    folder: Path | str,
    fingerprint: str,
    *,
    about: Mapping[str, Any] | None = None,
    commit: AbstractContextManager[Any] | None = None,
    tidy: bool = True,
) -> Iterator[Path]:
    """Write a folder aside and put it in its place when the block ends without an error; an older one is replaced.

    A process that is killed leaves the older folder or none, never a half-written one, and beside it a hidden folder
    that the next call removes. Where the block raises, the older folder stays. All is on the disk before it is put in
    its place, so that a power cut leaves no file that is there by name and empty by content.

    Args:
        folder: the artifact's place.
        fingerprint: of everything that it is made from, kept in its receipt.
        about: further entries of the receipt.
        commit: entered while the folder is put in its place; what it raises leaves the older folder there.
        tidy: whether to remove what a killed process left of this artifact; not where two may write it at once.

    Yields:
        An empty folder to write into.
    """
    folder = Path(folder)
    if tidy:
        remove_leftovers(folder)
    aside = aside_of(folder)
    aside.mkdir(parents=True)
    try:
        yield aside
        seal(aside, fingerprint, about)
        _sync_tree(aside)
        with commit or nullcontext():
            _replace(aside, folder)
        _sync(folder.parent)
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def seal(folder: Path | str, fingerprint: str, about: Mapping[str, Any] | None = None) -> None:
    """Declare a folder whole as it stands: write its receipt. For folders filled in place, such as trainings."""
    receipt = {"fingerprint": fingerprint, "files": _sizes(Path(folder)), **(about or {})}
    write_json(Path(folder) / RECEIPT, receipt)


def is_current(folder: Path | str, fingerprint: str) -> bool:
    """Whether the folder is there, was made from what the fingerprint stands for, and lacks or shortens no file."""
    receipt = read_receipt(folder)
    return receipt is not None and receipt["fingerprint"] == fingerprint


def read_receipt(folder: Path | str) -> dict[str, Any] | None:
    """The receipt of a whole artifact: ``fingerprint`` and ``files`` (name to bytes).

    ``None`` where the folder is absent, or a file of it is missing or has another size than when it was written.
    """
    receipt = read_unverified_receipt(folder)
    return receipt if receipt is not None and is_whole(folder, receipt) else None


def read_unverified_receipt(folder: Path | str) -> dict[str, Any] | None:
    """The receipt without a look at the files that it names; ``None`` where there is none, or it cannot be read."""
    try:
        with open(f"{folder}/{RECEIPT}", "rb") as file:  # noqa: PTH123 - read ten thousand times: making a Path costs as much
            receipt: dict[str, Any] = json.load(file)
        _ = receipt["files"].items(), receipt["fingerprint"]
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None
    return receipt


def is_whole(folder: Path | str, receipt: Mapping[str, Any]) -> bool:
    """Whether the receipt and every file that it names are in the folder, each with its size."""
    try:
        # os.stat on text, since the plan of a cohort calls this for some hundred thousand files.
        os.stat(f"{folder}/{RECEIPT}")  # noqa: PTH116
        return all(os.stat(f"{folder}/{name}").st_size == size for name, size in receipt["files"].items())  # noqa: PTH116
    except OSError:
        return False


def remove_leftovers(folder: Path | str) -> None:
    """Remove what a killed process left beside an artifact's place."""
    folder = Path(folder)
    for beside in folder.parent.iterdir() if folder.parent.is_dir() else ():
        if beside.name.startswith(f".{folder.name}{ASIDE}"):
            shutil.rmtree(beside, ignore_errors=True)


def aside_of(path: Path) -> Path:
    """A hidden name beside a file or folder, not used before, to write to first."""
    return path.with_name(f".{path.name}{ASIDE}{uuid.uuid4().hex}")


def write_json(path: Path, content: object, *, durable: bool = False) -> None:
    """Write JSON (NumPy numbers and arrays as well), aside first and then renamed.

    Args:
        path: the file.
        content: what it is to hold.
        durable: whether it has to be on the disk, also after a power cut, before this returns.
    """
    aside = aside_of(path)
    try:
        aside.write_text(json.dumps(content, indent=2, default=_plain) + "\n", encoding="utf-8")
        if durable:
            _sync(aside)
        aside.replace(path)
    finally:
        aside.unlink(missing_ok=True)
    if durable:
        _sync(path.parent)


def _plain(value: Any) -> Any:
    if hasattr(value, "tolist"):
        return value.tolist()
    if isinstance(value, Path):
        return str(value)
    raise TypeError(f"a {type(value).__name__} is no JSON: {value!r}")


def _sizes(folder: Path) -> dict[str, int]:
    """Bytes of every file except the receipt and the locks and notes of runs."""
    inside = sorted(path.relative_to(folder) for path in folder.rglob("*") if path.is_file() and path.name != RECEIPT)
    return {path.as_posix(): (folder / path).stat().st_size for path in inside if RUNS not in path.parts}


def _sync_tree(folder: Path) -> None:
    """Flush a folder's files and their names to the disk."""
    for path in sorted(folder.rglob("*"), reverse=True):
        _sync(path)
    _sync(folder)


def _sync(path: Path) -> None:
    """Flush a file, or a folder's list of names, to the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _replace(aside: Path, folder: Path) -> None:
    """Put a folder in another's place. None can be renamed over a full one, so the older one steps aside first."""
    old = aside_of(folder)
    if folder.exists():
        folder.replace(old)
    aside.replace(folder)
    shutil.rmtree(old, ignore_errors=True)
