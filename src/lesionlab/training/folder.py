"""The folder of a training: whose run lies in it, and what becomes of the run before.

A run that another one takes the place of is not deleted: one training may be a night's work, and the change that it
falls to a mistyped parameter. It is kept beside the folder, under the folder's name and ``.replaced``, until the next.
"""

from __future__ import annotations

import json
import logging
import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from lesionlab.stages.artifact import write_json
from lesionlab.stages.lock import RUNS
from lesionlab.training.identity import SHOWN, difference
from lesionlab.training.launch import JOB_FOLDER
from lesionlab.training.run import BEST, CHECKPOINT, COMING_BEST, TRAINED

SUBJECTS = "subjects.json"  # who was learnt from
VALIDATED_ON = "validation.json"
REPLACED = ".replaced"  # end of the name under which the run before is kept
_STARTED = "started.json"  # tells which run a folder belongs to
_LEAVING = ".leaving"  # end of that name until all of it is there

_NAMED = 3  # last parts of a folder's path that name its training among others

_log = logging.getLogger(__name__)


def begin(
    folder: Path,
    key: str,
    made_from: Mapping[str, Any],
    device: str,
    subjects: Iterable[str],
    validated_on: Iterable[str],
) -> None:
    """Make the folder this run's own, and write down who has a part in it; an unfinished run of this key stays.

    Args:
        folder: of the training, locked by the caller.
        key: fingerprint of everything the run is made from.
        made_from: the same in words, to say what has changed when another run comes.
        device: that it is trained on.
        subjects: whose slices it learns from.
        validated_on: whose slices its validation looks at.
    """
    before = started(folder) or started(_beside(folder, _LEAVING))
    for left in (folder / RUNS).glob(f"{JOB_FOLDER}*"):  # of processes that were killed: nobody else is at work here
        shutil.rmtree(left, ignore_errors=True)
    if before.get("key") == key:
        _bring_back(folder)
    else:
        if before:
            _say_other(folder, before.get("made_from", {}), made_from)
        _make_room(folder)
    write_json(folder / _STARTED, {"key": key, "made_from": made_from, "device": device})
    write_json(folder / SUBJECTS, sorted(set(subjects)))
    write_json(folder / VALIDATED_ON, sorted(set(validated_on)))


def started(folder: Path) -> dict[str, Any]:
    """What was written down when the folder's run began: ``key``, ``made_from``, ``device``; empty where none has."""
    path = folder / _STARTED
    found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    return found


def _make_room(folder: Path) -> None:
    """Move another run's files aside where they hold weights, else remove them.

    Who is killed in between leaves files that still name the other run: it gets them back where it is begun again, and
    any other run moves the rest.
    """
    leaving, kept = _beside(folder, _LEAVING), _beside(folder, REPLACED)
    weights = TRAINED, CHECKPOINT, BEST, COMING_BEST
    worth = leaving.exists() or any((folder / name).exists() for name in weights)
    # What names the run goes last.
    for old in sorted(folder.iterdir(), key=lambda path: path.name == _STARTED):
        if old.name != RUNS:
            _move(old, leaving) if worth else _remove(old)
    if worth:
        _remove(kept)
        leaving.rename(kept)
        _log.warning("the run before is kept as %s; remove it when you have no use for it", kept)


def _bring_back(folder: Path) -> None:
    """Undo a move that was cut short: the run whose files had begun to leave is the one that is begun."""
    leaving = _beside(folder, _LEAVING)
    if leaving.is_dir():
        for gone in leaving.iterdir():
            _move(gone, folder)
        leaving.rmdir()


def _beside(folder: Path, end: str) -> Path:
    return folder.with_name(folder.name + end)


def _move(path: Path, into: Path) -> None:
    into.mkdir(exist_ok=True)
    _remove(into / path.name)
    path.rename(into / path.name)


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _say_other(folder: Path, before: Mapping[str, Any], now: Mapping[str, Any]) -> None:
    differing = [f"{name} ({one} before, {other} now)" for name, one, other in difference(before, now)[:SHOWN]]
    why = ", ".join(differing) or "its slices or the code"
    _log.warning("%s: trained anew, for this has changed: %s", "/".join(folder.parts[-_NAMED:]), why)
