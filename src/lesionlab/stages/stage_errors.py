"""What a stage refuses to begin with, and how it tells what went wrong."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from lesionlab.errors import InputError
from lesionlab.names import listed
from lesionlab.stages.study_task import foreseen
from lesionlab.stages.subject_store import MANIFEST


class StageError(RuntimeError):
    """Studies that a stage could not process, told at its end, when all the others are done.

    Attributes:
        failures: study to reason.
    """

    def __init__(self, stage: str, failures: Mapping[str, str], expected: int, logs: Path) -> None:
        self.stage, self.failures, self.expected, self.logs = stage, dict(failures), expected, logs
        reasons = "".join(f"\n  {study}: {reason}" for study, reason in failures.items())
        super().__init__(
            f"{stage}: {len(failures)} of {expected} studies failed:{reasons}\nLogs: {logs}. Cure: mend the inputs and "
            "run again (finished studies are kept), leave them out, or go on without them by `allow_failures: true`"
            f"{'' if len(failures) < expected else ' (not where all fail)'}"
        )

    def __reduce__(self) -> tuple[Any, ...]:
        return StageError, (self.stage, self.failures, self.expected, self.logs)


def check_names(jobs: Mapping[str, object], stage: str) -> None:
    """Raise ``InputError`` where a study's name cannot be a folder's, or there is none."""
    wrong = [study for study in jobs if not study or study[0] in "._" or "/" in study or study == MANIFEST]
    if wrong or not jobs:
        raise InputError(
            f"{stage}: a study's name cannot be a folder's" if wrong else f"{stage}: there is no study to process",
            given=listed(wrong) if wrong else "no study",
            allowed="at least one study; names without / that do not begin with . or _",
            cure="rename the subjects, or change the layout's `study` template",
        )


@contextmanager
def told_plainly(root: Path) -> Iterator[None]:
    """Tell a full disk or missing rights plainly where they stop the whole stage."""
    try:
        yield
    except OSError as error:
        raise foreseen(error, root) or error from error
