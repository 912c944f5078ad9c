"""The subject store: what a stage wrote for each study (volumes, record, measures), and whether it is complete."""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pandas as pd
from nibabel.filebasedimages import ImageFileError

from lesionlab.errors import InputError
from lesionlab.imaging.formats.nifti import write_volume
from lesionlab.imaging.volume import Volume
from lesionlab.names import listed, suggestion
from lesionlab.stages.artifact import RECEIPT, is_current, is_whole, write_json

MANIFEST = "manifest.json"
LOGS = "_logs"
#: The folder for studies that the cohort does not hold any more.
AWAY = ".away"
RECORD, _QC, _SUFFIX = "record.json", "qc.json", ".nii.gz"
_RUN_AGAIN = "run the stage again: it computes what is missing and keeps the rest"


@dataclass(frozen=True)
class StudyResult:
    """What a stage makes of one study.

    Attributes:
        volumes: name to volume; kept with their dtype. A name may hold a folder (``truth/brain``).
        qc: name to measure, one number each (NaN allowed).
        record: whatever else is worth keeping, JSON-able (transforms, mappings, choices).
        files: name to content of further files, kept as they are, for other programs to read.
    """

    volumes: Mapping[str, Volume] = field(default_factory=dict)
    qc: Mapping[str, float] = field(default_factory=dict)
    record: Mapping[str, Any] = field(default_factory=dict)
    files: Mapping[str, bytes] = field(default_factory=dict)


@dataclass(frozen=True)
class SubjectStore:
    """A stage's folder: ``<study>/<name>.nii.gz``, ``record.json`` and ``qc.json``, and one ``manifest.json``.

    Attributes:
        root: the stage's folder. It need not exist yet: then the store is not complete.
    """

    root: Path

    def __post_init__(self) -> None:
        object.__setattr__(self, "root", Path(self.root))

    def manifest(self) -> dict[str, Any] | None:
        """What was expected, what is there and what failed; ``None`` where the stage has never run."""
        try:
            return json.loads((self.root / MANIFEST).read_text(encoding="utf-8"))  # type: ignore[no-any-return]
        except (OSError, ValueError):
            return None

    def complete(self) -> bool:
        """Whether every expected study is there whole, or failed where failures were allowed."""
        manifest = self.manifest()
        if manifest is None or manifest["complete"] is not True:
            return False
        return all(is_whole(self.root / study, receipt) for study, receipt in manifest["present"].items())

    def studies(self) -> list[str]:
        """The studies of the last run that are there and whole, in the run's order."""
        return list(self.fingerprints())

    def fingerprints(self) -> dict[str, str]:
        """The fingerprint of each of :meth:`studies`: what the next stage's fingerprints are made from."""
        # The manifest holds copies of the receipts: only the files' sizes are looked at.
        present = (self.manifest() or {"present": {}})["present"]
        return {
            study: receipt["fingerprint"] for study, receipt in present.items() if is_whole(self.root / study, receipt)
        }

    def held_back(self) -> list[str]:
        """The studies whose result is there but is not used, by the judge; :meth:`failures` has the reasons."""
        return list((self.manifest() or {"held_back": []}).get("held_back", []))

    def names(self, study: str) -> list[str]:
        """The names of a study's volumes, sorted; raises ``InputError`` for a study that is not there."""
        return sorted(path.name.removesuffix(_SUFFIX) for path in self._folder(study).glob(f"*{_SUFFIX}"))

    def path(self, study: str, name: str) -> Path:
        """The file of one volume; raises ``InputError`` for a study that is not there."""
        return self._folder(study) / f"{name}{_SUFFIX}"

    def volume(self, study: str, name: str) -> Volume:
        """Read one volume with the dtype it was stored in; raises ``InputError`` where study or volume is not there."""
        path = self.path(study, name)
        if not path.is_file():
            names = self.names(study)
            raise InputError(
                "the stage keeps no volume of that name",
                given=name,
                allowed=listed(names),
                cure=f"{suggestion(name, names)}name one of these, or switch the step on that makes it",
                subject=study,
                file=path,
            )
        try:  # not read_volume: a map that is 0 everywhere is no fault here
            # All of it at once: a reader that stops at the last voxel never comes to the checksum behind it.
            image = nib.nifti1.Nifti1Image.from_bytes(gzip.decompress(path.read_bytes()))
            return Volume(np.ascontiguousarray(image.dataobj), np.asarray(image.affine, dtype=np.float64))
        except (EOFError, ValueError, zlib.error, gzip.BadGzipFile, ImageFileError) as error:
            raise _damaged(study, path, error) from error

    def volumes(self, study: str) -> dict[str, Volume]:
        """Read all volumes of a study."""
        return {name: self.volume(study, name) for name in self.names(study)}

    def record(self, study: str) -> dict[str, Any]:
        """The record of a study; raises ``InputError`` for a study that is not there, or where it is damaged."""
        return self._mapping(study, RECORD)

    def kept(self) -> dict[str, str]:
        """The fingerprint of each study of the last run that lies here whole, those held back included."""
        manifest = self.manifest() or {"expected": {}}
        return {study: key for study, key in manifest["expected"].items() if is_current(self.root / study, key)}

    def measures(self, study: str) -> dict[str, float]:
        """The quality measures of one study, held back or not; raises ``InputError`` as :meth:`record` does."""
        return self._mapping(study, _QC)

    def qc(self, held_back: bool = False) -> pd.DataFrame:
        """The quality measures, long: ``study``, ``measure``, ``value``; on demand those of studies held back too."""
        studies = self.studies() + (self.held_back() if held_back else [])
        rows = [(study, name, value) for study in studies for name, value in self.measures(study).items()]
        return pd.DataFrame(rows, columns=["study", "measure", "value"]).astype({"value": float})

    def failures(self) -> pd.DataFrame:
        """The studies that failed in the last run: ``study``, ``reason``."""
        manifest = self.manifest() or {"failed": {}}
        return pd.DataFrame(list(manifest["failed"].items()), columns=["study", "reason"])

    def _mapping(self, study: str, name: str) -> dict[str, Any]:
        path = self._folder(study) / name
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
            if not isinstance(content, dict):
                raise ValueError(f"a {type(content).__name__} where a mapping is due")
        except (FileNotFoundError, ValueError) as error:
            raise _damaged(study, path, error) from error
        return content

    def _folder(self, study: str) -> Path:
        folder = self.root / study
        if not (folder / RECEIPT).is_file():
            studies = self.studies()
            raise InputError(
                "the stage has no such study",
                given=study,
                allowed=listed(studies),
                cure=f"{suggestion(study, studies)}name one of these, or {_RUN_AGAIN}",
                subject=study,
                file=folder,
            )
        return folder


def _damaged(study: str, path: Path, error: Exception) -> InputError:
    return InputError(
        "a file of the stage is damaged",
        given=f"{type(error).__name__}: {error}",
        allowed="the file as the stage wrote it",
        cure=f"delete the folder {path.parent} and {_RUN_AGAIN}",
        subject=study,
        file=path,
    )


def write_result(result: StudyResult, folder: Path) -> None:
    """Write a study's result into a folder."""
    for name, volume in result.volumes.items():
        path = folder / f"{name}{_SUFFIX}"
        path.parent.mkdir(parents=True, exist_ok=True)
        write_volume(volume, path)
    for name, content in result.files.items():
        (folder / name).write_bytes(content)
    write_json(folder / RECORD, dict(result.record))
    write_json(folder / _QC, {name: float(value) for name, value in result.qc.items()})
