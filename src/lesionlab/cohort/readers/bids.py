"""BIDS cohorts: scans by their suffix and entities, contrast agents by entity or sidecar.

Gorgolewski et al., The brain imaging data structure, Scientific Data 2016; bids-specification.readthedocs.io.
"""

from __future__ import annotations

import fnmatch
import json
import logging
import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from lesionlab.cohort.layout import Layout
from lesionlab.cohort.readers.file_layout import LEAVE_OUT
from lesionlab.cohort.studies import FoundStudy, Study, find_masks, lesion_sequences, template_studies
from lesionlab.errors import InputError
from lesionlab.names import listed

_log = logging.getLogger(__name__)

_SUFFIXES = (".nii.gz", ".nii")
_CONTRAST, _SIDECAR_CONTRAST = "ce", "ContrastBolusIngredient"
_NO_AGENT = ("", "none", "no", "n/a")
#: Entities of which a sequence's entry must speak for a scan that has them to count.
_MUST_BE_NAMED = (_CONTRAST, "part", "inv", "space", "desc", "label")
_NAMES = ("sub", "ses")


class _Scan(NamedTuple):
    path: Path
    suffix: str
    entities: dict[str, str]


def find(root: Path, layout: Layout, sequences: tuple[str, ...]) -> Iterator[FoundStudy]:
    """Yield the studies of a BIDS folder; see :func:`lesionlab.cohort.table.discover`.

    A sequence's scan has the suffix and the entities of its entry. Of several the one with the fewest further entities
    is taken. A contrast agent counts where the entity ``ce`` or the sidecar's ContrastBolusIngredient names one.
    """
    drawn_on = lesion_sequences(layout, sequences)
    for study in template_studies(root, layout):
        found = FoundStudy(study)
        folders = _folders(root, layout, study)
        scans = [scan for folder in folders for scan in _scans(folder, study)]
        for name in sequences:
            _add(found, name, layout.sequences[name], scans, folders)
        find_masks(root, layout, found, drawn_on)
        yield found


def _folders(root: Path, layout: Layout, study: Study) -> list[Path]:
    """The folders ``sub-<subject>[/ses-<visit>]`` of a study, where the layout's templates begin."""
    own = f"sub-{study.subject}" + (f"/ses-{study.visit}" if study.visit else "")
    heads = {template[: template.index("sub-")] for template in layout.study if "sub-" in template}
    return [folder for head in sorted(heads) if (folder := root / head / own).is_dir()]


def _scans(folder: Path, study: Study) -> Iterator[_Scan]:
    for file in sorted(folder.glob("*/*")):
        suffix = next((one for one in _SUFFIXES if file.name.endswith(one)), None)
        if suffix is None or file.name.startswith(".") or file.parent.name.startswith("ses-"):
            continue
        *pairs, kind = file.name.removesuffix(suffix).split("_")
        entities = dict(pair.split("-", 1) for pair in pairs if "-" in pair)
        if (entities.get("sub"), entities.get("ses", "")) == (study.subject, study.visit):
            yield _Scan(file, kind, _with_sidecar(file.with_name(file.name.removesuffix(suffix) + ".json"), entities))


def _with_sidecar(sidecar: Path, entities: dict[str, str]) -> dict[str, str]:
    """The entities, with a contrast agent that only the sidecar names."""
    if _CONTRAST in entities or not sidecar.is_file():
        return entities
    try:
        agent = json.loads(sidecar.read_text(encoding="utf-8")).get(_SIDECAR_CONTRAST, "")
    except (OSError, ValueError, AttributeError):
        _log.warning("cohort: the sidecar %s is no JSON and is not used", sidecar)
        return entities
    agent = " ".join(map(str, agent)) if isinstance(agent, list) else str(agent or "")
    return entities if agent.strip().lower() in _NO_AGENT else {**entities, _CONTRAST: agent}


def _add(found: FoundStudy, name: str, entries: tuple[str, ...], scans: list[_Scan], folders: list[Path]) -> None:
    for entry in entries:
        fitting = [scan for scan in scans if _fits(scan, entry)]
        fewest = min((len(scan.entities) for scan in fitting), default=0)
        best = [scan for scan in fitting if len(scan.entities) == fewest]
        if len(best) == 1:
            found.scans[name] = str(best[0].path)
            return
        if best:
            found.faults.append(_ambiguous(found.study, name, entry, best))
            return
    there = listed(scan.path.name for scan in scans)
    found.missing[name] = InputError(
        f"the sequence {name} is missing",
        given=f"{' and '.join(map(str, folders))} with {there}",
        allowed=f"a scan of {' or '.join(entries)}",
        cure=f"put the file there, correct the layout's entry, or {LEAVE_OUT}",
        subject=found.study.subject,
        file=folders[0] if folders else None,
    )


def _fits(scan: _Scan, entry: str) -> bool:
    *pairs, suffix = entry.split("_")
    wanted = dict(pair.split("-", 1) for pair in pairs if "-" in pair)
    if scan.suffix != suffix or any(key in scan.entities and key not in wanted for key in _MUST_BE_NAMED):
        return False
    return all(key in scan.entities and fnmatch.fnmatchcase(scan.entities[key], value) for key, value in wanted.items())


def _ambiguous(study: Study, name: str, entry: str, scans: list[_Scan]) -> InputError:
    apart = next((key for key in scans[0].entities if len({scan.entities.get(key) for scan in scans}) > 1), "run")
    value = re.sub(r"[^\w.*-]", "", scans[-1].entities.get(apart, "2"))
    return InputError(
        f"the sequence {name} is ambiguous",
        given=f"several files: {listed(scan.path.name for scan in scans)}",
        allowed=f"one scan of {entry}",
        cure=f"name the wanted one in the layout, such as {apart}-{value}_{entry}, or move the other",
        subject=study.subject,
        file=scans[0].path,
    )
