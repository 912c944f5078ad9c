"""Training in processes of their own: all that they need lies in files. On several devices torchrun starts them.

A node calls :func:`fit_on_devices` whether there is one device or several, one training at a time or several. What
cannot lie in a file, a tracker or a validation, is told by name (:class:`Maker`) and made where it is used. What an
MLflow client has to know goes through the environment, which the processes inherit.
"""

from __future__ import annotations

import importlib
import json
import signal
import sys
import traceback
from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from pydantic import BaseModel, ConfigDict

from lesionlab.errors import InputError
from lesionlab.methods.base import Method
from lesionlab.slices.mapped import Selection, open_slices
from lesionlab.stages.lock import RUNS
from lesionlab.training.checkpoint import load_method, save_method
from lesionlab.training.ending import Diverged
from lesionlab.training.loop import TRAINED, fit
from lesionlab.training.options import TrainingOptions
from lesionlab.training.side_by_side import Place
from lesionlab.training.stop import Interrupted

JOB, START, ENDED = "job.json", "start.pt", "ended.json"
JOB_FOLDER = "job-"  # how the folders begin that they lie in
WORKER = "lesionlab.training.worker"

_NAMED = 3  # last parts of a folder's path that name its training among others


class Maker(BaseModel):
    """A function that makes a tracker or a validation in the process that needs it.

    Attributes:
        target: ``package.module:function``.
        arguments: what it is called with, as far as JSON can tell it.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    target: str
    arguments: dict[str, Any] = {}

    def make(self) -> Any:
        """Import the function and call it."""
        module, _, name = self.target.partition(":")
        return getattr(importlib.import_module(module), name)(**self.arguments)


class Job(BaseModel):
    """A training, told in files."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    folder: Path
    streams: dict[str, tuple[Selection, ...]]
    options: TrainingOptions
    preview: Selection | None = None
    tracker: Maker | None = None
    validate_by: Maker | None = None
    augment: Maker | None = None
    resume: bool = True

    def run(self, method: Method, leads: bool = True) -> None:
        """Train in this process. Only the one that leads makes a tracker; all make a validation, but one uses it."""
        fit(
            method,
            {name: open_slices(parts, self.options.memory) for name, parts in self.streams.items()},
            self.options,
            self.folder,
            augment=self.augment.make() if self.augment else None,
            tracker=self.tracker.make() if self.tracker and leads else None,
            validate=self.validate_by.make() if self.validate_by else None,
            preview=self.preview.in_memory().all() if self.preview else None,
            resume=self.resume,
        )


def fit_on_devices(
    method: Method,
    streams: Mapping[str, Sequence[Selection]],
    options: TrainingOptions,
    folder: Path,
    *,
    augment: Maker | None = None,
    tracker: Maker | None = None,
    validate: Maker | None = None,
    preview: Selection | None = None,
    resume: bool = True,
    where: Place | None = None,
) -> None:
    """As :func:`lesionlab.training.loop.fit`, with slices on disk, on as many devices as the options say.

    Args:
        method: freshly built; afterwards it holds the trained weights.
        streams: slices of slice stores, in order, of each of the method's streams.
        options: length, batch, numerics, devices.
        folder: of this run alone.
        augment: makes what changes every batch.
        tracker: makes what receives curves and pictures.
        validate: makes the validation.
        preview: slices that pictures are made of.
        resume: go on from a checkpoint in ``folder``.
        where: a place beside other trainings, and what its processes have to know; by default alone.

    Raises:
        InputError, Diverged, Interrupted: as ``fit`` raises them.
        RuntimeError: the processes ended otherwise; repeats what the first one told, or the last lines they wrote.
    """
    job = Job(
        folder=folder,
        streams={name: tuple(parts) for name, parts in streams.items()},
        options=options,
        preview=preview,
        tracker=tracker,
        validate_by=validate,
        augment=augment,
        resume=resume,
    )
    where = where or Place()
    if options.devices == 1 and not where.apart:
        job.run(method)
        return
    _launch(job, method, where)
    method.load_state_dict(load_method(folder / TRAINED).state_dict())


def _launch(job: Job, method: Method, where: Place) -> None:
    """Write the job, run the processes to their end, and raise what they raised."""
    (job.folder / RUNS).mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(dir=job.folder / RUNS, prefix=JOB_FOLDER) as name:
        place = Path(name)
        save_method(method, place / START)
        (place / JOB).write_text(job.model_dump_json(indent=2), encoding="utf-8")
        _run_processes(place, job, method.name, where)


def _run_processes(place: Path, job: Job, method: str, where: Place) -> None:
    devices = job.options.devices
    torchrun = ["torch.distributed.run", "--standalone", f"--nproc-per-node={devices}", "-m"] if devices > 1 else []
    words = [sys.executable, "-m", *torchrun, WORKER, str(place)]
    name = "/".join(job.folder.parts[-_NAMED:]) if where.apart else ""
    status, lines = where.processes.run(words, where.variables(devices), name)
    if where.processes.asked and _ended_by_signal(status, lines) and not (place / ENDED).exists():
        raise Interrupted(method, "as a signal asked while it started or ended", None, None, job.folder)
    if status:
        raise _ending(place / ENDED, status, lines)


def _ended_by_signal(status: int, lines: Sequence[str]) -> bool:
    """Whether a process, or torchrun with its own, ended by the signal handed on, and not for another reason."""
    return status in (-signal.SIGTERM, 128 + signal.SIGTERM) or any("SignalException" in line for line in lines)


def write_ending(place: Path, error: BaseException) -> None:
    """Leave word of what ended the processes, for the one that waits for them."""
    told: dict[str, Any] = {"kind": type(error).__name__}
    if isinstance(error, InputError):
        names = ("what", "given", "allowed", "cure", "subject", "file")
        told["arguments"] = {name: getattr(error, name) for name in names}
    elif isinstance(error, Diverged | Interrupted):
        told["arguments"] = error.arguments
    else:
        told["text"] = "".join(traceback.format_exception(error))
    (place / ENDED).write_text(json.dumps(told), encoding="utf-8")


def _ending(path: Path, status: int, lines: Sequence[str]) -> Exception:
    """The error that ended the processes, as they told it, else with what they wrote last."""
    kinds: dict[str, Any] = {"InputError": InputError, "Diverged": Diverged, "Interrupted": Interrupted}
    told: dict[str, Any] = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    if told.get("kind") in kinds:
        error: Exception = kinds[told["kind"]](**told["arguments"])
        return error
    last = told.get("text", "".join(lines))
    return RuntimeError(f"the training processes ended with status {status}; the last that they told:\n{last}")
