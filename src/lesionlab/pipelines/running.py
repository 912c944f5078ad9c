"""How nodes run: workers, failures, and what a stage's results depend on."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

from lesionlab.data.fingerprints import code_fingerprint, fingerprint_of
from lesionlab.data.stage import run_stage
from lesionlab.data.subject_store import StudyResult, SubjectStore
from lesionlab.parameters import RunOptions


def run(
    root: Path,
    jobs: Mapping[str, Any],
    work: Callable[[Any], StudyResult],
    fingerprints: Mapping[str, str],
    options: object,
    run_options: RunOptions,
    seed: int = 0,
) -> SubjectStore:
    """Run a stage of the imaging room over its studies (see :func:`lesionlab.data.stage.run_stage`)."""
    return run_stage(
        root,
        jobs,
        work,
        fingerprints=fingerprints,
        options=options,
        code=code_of("lesionlab.imaging", work),
        workers=run_options.processes,
        allow_failures=run_options.allow_failures,
        seed=seed,
    )


def code_of(package: str, work: Callable[..., Any] | None = None) -> str:
    """A fingerprint of a room's sources, and of the module that uses it: when either changes, results are made anew."""
    return fingerprint_of(_room(package), code_fingerprint(work) if work else "")


@cache
def _room(package: str) -> str:
    folder = Path(str(importlib.import_module(package).__file__)).parent
    sources = sorted(folder.rglob("*.py"))
    return fingerprint_of({path.relative_to(folder).as_posix(): path.read_text(encoding="utf-8") for path in sources})
