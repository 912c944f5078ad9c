"""Fingerprints: one short text that changes when anything of what it stands for changes."""

from __future__ import annotations

import dataclasses
import hashlib
import inspect
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from enum import Enum
from functools import lru_cache, partial
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pandas as pd
from pydantic import BaseModel

from lesionlab.imaging.meta_files import data_files
from lesionlab.imaging.scan_path import folder_files, scan_path

_DIGEST_BYTES = 16
_BLOCK_BYTES = 1 << 20
_KNOWN_FILES = 500_000  # whose fingerprints a process remembers: those of some ten thousand studies
_READERS = 4  # threads: hashing lets go of the interpreter, and a disk serves few readers best


def fingerprint_of(*objects: object) -> str:
    """A fingerprint of values, the same in every process and on every machine.

    Known are ``None``, numbers, text, bytes, enums, pydantic models, dataclasses, mappings (in any order), sequences,
    sets, NumPy arrays, pandas tables, and paths, which stand for the content of the file or folder.

    Returns:
        32 hexadecimal digits.

    Raises:
        TypeError: an object of another type.
    """
    digest = hashlib.blake2b(digest_size=_DIGEST_BYTES)
    for part in _parts(list(objects)):
        digest.update(len(part).to_bytes(8, "little") + part)
    return digest.hexdigest()


def file_fingerprint(path: Path | str) -> str:
    """A fingerprint of a scan's content: a file, a folder, or a part of one.

    See :mod:`lesionlab.imaging.scan_path`.

    With a MetaImage header count the files it names. Of a channel or a series the whole file or folder counts, and
    which part is meant. Content is read once per process, as long as the file stays the same one, with its size and
    its times; the time of its last change of status is among them, which no program can set back. What cannot be
    read has a fingerprint too, of its own: the study it belongs to will fail with the reason, and the others go on.
    """
    scan = scan_path(path)
    part = "" if scan.channel is None and not scan.series else f"#{scan.channel},{scan.series}"
    try:
        if scan.place.is_dir():
            inside = folder_files(scan.place)
            content = [(file.relative_to(scan.place).as_posix(), file_fingerprint(file)) for file in inside]
            return fingerprint_of(content) + part
        own = _of_file(scan.place)
        beside = [(file.name, _of_file(file) if file.is_file() else "absent") for file in data_files(scan.place)]
        return (fingerprint_of(own, beside) if beside else own) + part
    except OSError as error:
        return f"unreadable: {error.strerror}{part}"


def _of_file(path: Path) -> str:
    status = path.stat()
    return _content(str(path), status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino)


def code_fingerprint(*parts: Callable[..., Any] | ModuleType) -> str:
    """A fingerprint of the source of modules, each given itself or by a function in it.

    With it in its key, a result made by code that has changed since does not pass for current.
    """
    return fingerprint_of([inspect.getsource(_module_of(part)) for part in parts])


def study_fingerprints(table: pd.DataFrame) -> dict[str, str]:
    """A fingerprint per study of a cohort: the content of its scans and masks, wherever they lie."""
    files = sorted({str(path) for column in ("path", "lesion_path", "brain_path") for path in table[column] if path})
    with ThreadPoolExecutor(_READERS) as pool:
        content = dict(zip(files, pool.map(file_fingerprint, files), strict=True)) | {"": ""}
    scans: dict[str, dict[str, str]] = {}
    firsts: dict[str, Any] = {}
    for row in table.itertuples():  # not grouped: a table for each study of ten thousand takes its time
        firsts.setdefault(str(row.study), row)
        scans.setdefault(str(row.study), {})[str(row.sequence)] = content[str(row.path)]
    return {
        study: fingerprint_of(
            row.subject, row.visit, scans[study], (content[row.lesion_path], row.lesion_on, content[row.brain_path])
        )
        for study, row in sorted(firsts.items())
    }


def cohort_fingerprint(table: pd.DataFrame) -> str:
    """A fingerprint of a cohort: its studies and the content of their files, not the split and not the folder."""
    return fingerprint_of(study_fingerprints(table))


@lru_cache(maxsize=_KNOWN_FILES)
def _content(path: str, size: int, *_state: int) -> str:
    digest = hashlib.blake2b(digest_size=_DIGEST_BYTES)
    with Path(path).open("rb", buffering=0) as file:
        while block := file.read(_BLOCK_BYTES):
            digest.update(block)
    return f"{size}:{digest.hexdigest()}"


def _module_of(part: Callable[..., Any] | ModuleType) -> ModuleType:
    while isinstance(part, partial):
        part = part.func
    module = part if isinstance(part, ModuleType) else inspect.getmodule(part)
    if module is None:
        raise TypeError(f"{part!r} lies in no module")
    return module


def _parts(value: object) -> Iterator[bytes]:
    """The canonical bytes of a value: its kind first, so that 1, 1.0, True and "1" differ."""
    if isinstance(value, Enum):  # before the plain types: some enums and NumPy numbers are their subclasses
        yield from _parts([type(value).__name__, value.value])
    elif isinstance(value, np.generic):
        yield from _parts(value.item())
    elif value is None or isinstance(value, (bool, int, float, str, bytes)):
        yield f"{type(value).__name__}:{value!r}".encode(errors="surrogatepass")
    elif isinstance(value, np.ndarray):
        yield from _array_parts(value)
    elif isinstance(value, Path):
        yield from _path_parts(value)
    else:
        yield from _container_parts(value)


def _container_parts(value: object) -> Iterator[bytes]:
    if isinstance(value, BaseModel):
        yield from _parts([type(value).__name__, {name: getattr(value, name) for name in type(value).model_fields}])
    elif dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
        yield from _parts([type(value).__name__, fields])
    elif isinstance(value, (pd.DataFrame, pd.Series)):
        frame = value.to_frame() if isinstance(value, pd.Series) else value
        yield from _parts({str(name): frame[name].tolist() for name in frame})
    elif isinstance(value, Mapping):
        yield f"mapping of {len(value)}".encode()
        yield from sorted(fingerprint_of(key, item).encode() for key, item in value.items())
    elif isinstance(value, (set, frozenset)):
        yield f"set of {len(value)}".encode()
        yield from sorted(fingerprint_of(item).encode() for item in value)
    elif isinstance(value, (list, tuple)):
        yield f"sequence of {len(value)}".encode()
        for item in value:
            yield from _parts(item)
    else:
        raise TypeError(f"no fingerprint is known for a {type(value).__name__}: {value!r}")


def _array_parts(array: np.ndarray) -> Iterator[bytes]:
    if array.dtype == object:
        yield from _parts(array.tolist())
        return
    yield f"array {array.dtype.str} {array.shape}".encode()
    yield np.ascontiguousarray(array).tobytes()


def _path_parts(path: Path) -> Iterator[bytes]:
    if path.is_dir():
        inside = sorted(file for file in path.rglob("*") if file.is_file())
        yield from _parts({file.relative_to(path).as_posix(): file_fingerprint(file) for file in inside})
    else:
        yield from _parts(["file", file_fingerprint(path) if path.is_file() else "absent"])
