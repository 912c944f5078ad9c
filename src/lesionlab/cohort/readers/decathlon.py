"""Cohorts of the Medical Segmentation Decathlon: 4D images, their channels named in dataset.json; and nnU-Net's.

Antonelli et al., The Medical Segmentation Decathlon, Nature Communications 2022. A case is ``imagesTr/<case>.nii.gz``
with all channels, or, as nnU-Net has it, ``imagesTr/<case>_0000.nii.gz`` and so on with one each.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from lesionlab.cohort.layout import Layout
from lesionlab.cohort.readers.file_layout import LEAVE_OUT
from lesionlab.cohort.studies import FoundStudy, Study, find_masks, lesion_sequences, name_studies
from lesionlab.errors import InputError
from lesionlab.imaging.scan_path import channel_path
from lesionlab.names import listed

_INDEX, _IMAGES = "dataset.json", "imagesTr"
_CHANNELS = ("channel_names", "modality")  # nnU-Net's word and the Decathlon's
_CASE = re.compile(r"(?P<case>.+?)(?:_(?P<channel>\d{4}))?(?P<suffix>\.nii(?:\.gz)?)")


def find(root: Path, layout: Layout, sequences: tuple[str, ...]) -> Iterator[FoundStudy]:
    """Yield the training cases; see :func:`lesionlab.cohort.table.discover`.

    Raises:
        InputError: dataset.json is missing, no JSON, or names no channel for a sequence; there is no case.
    """
    channels = _channels(root, layout, sequences)
    drawn_on = lesion_sequences(layout, sequences)
    cases = _cases(root / _IMAGES)
    if not cases:
        raise InputError(
            "there are no training images",
            given=f"no .nii or .nii.gz file in {root / _IMAGES}",
            allowed=f"{_IMAGES}/<case>.nii.gz",
            cure="point cohort.root at the task's folder, the one that holds dataset.json",
            file=root / _IMAGES,
        )
    for study in name_studies([(case, "") for case in sorted(cases)]):
        found = FoundStudy(study)
        for name in sequences:
            _add(found, name, channels[name], cases[study.subject], len(channels["*"]))
        find_masks(root, layout, found, drawn_on)
        yield found


def _cases(folder: Path) -> dict[str, dict[str, Path]]:
    """Case to its files by channel, "" for a file with all."""
    cases: dict[str, dict[str, Path]] = {}
    for file in sorted(folder.glob("*")):  # the archives hold ._ files too
        fits = _CASE.fullmatch(file.name)
        if fits and not file.name.startswith("."):
            cases.setdefault(fits["case"], {})[fits["channel"] or ""] = file
    return cases


def _add(found: FoundStudy, name: str, channel: Any, files: dict[str, Path], count: int) -> None:
    own, shared = files.get(f"{channel:04d}"), files.get("")
    if own is not None:
        found.scans[name] = str(own)
    elif shared is not None:
        found.scans[name] = str(shared) if count == 1 else channel_path(shared, channel)
    else:
        found.missing[name] = _no_channel(found.study, name, channel, files)


def _channels(root: Path, layout: Layout, sequences: tuple[str, ...]) -> dict[str, Any]:
    """Sequence to channel number, and under ``*`` the names of all."""
    index = _index(root / _INDEX)
    listing: dict[Any, Any] = next((index[key] for key in _CHANNELS if isinstance(index.get(key), dict)), {})
    numbers = {str(name).casefold(): int(number) for number, name in listing.items() if str(number).isdigit()}
    channels: dict[str, Any] = {"*": list(listing.values())}
    for name in sequences:
        known = [word for word in (*layout.sequences[name], name) if word.casefold() in numbers]
        if not known:
            raise InputError(
                f"dataset.json names no channel for sequence {name}",
                given=f"channels {listed(listing.values())}",
                allowed=f"one of {listed(layout.sequences[name])}",
                cure=f"write the channel's name under `sequences: {name}` of the layout",
                file=root / _INDEX,
            )
        channels[name] = numbers[known[0].casefold()]
    return channels


def _index(file: Path) -> dict[str, Any]:
    try:
        index = json.loads(file.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError) as error:
        index, found = None, f"{type(error).__name__}: {error}"
    else:
        found = f"a {type(index).__name__}"
    if not isinstance(index, dict):
        raise InputError(
            "dataset.json cannot be read",
            given=found,
            allowed="the task's dataset.json, which names the channels",
            cure="point cohort.root at the task's folder, the one that holds dataset.json",
            file=file,
        )
    return index


def _no_channel(study: Study, name: str, channel: int, files: dict[str, Path]) -> InputError:
    return InputError(
        f"the sequence {name} is missing",
        given=f"files {listed(file.name for file in files.values())}",
        allowed=f"{study.subject}_{channel:04d}.nii.gz, or one file with all channels",
        cure=f"put the file there, or {LEAVE_OUT}",
        subject=study.subject,
        file=next(iter(files.values())),
    )
