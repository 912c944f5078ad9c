"""A process that trains, alone or one of several under torchrun: ``python -m lesionlab.training.worker FOLDER``."""

from __future__ import annotations

import logging
import os
import sys
import time
from pathlib import Path

import torch.distributed

from lesionlab.errors import InputError
from lesionlab.stages.parent import end_with_stdin
from lesionlab.training.checkpoint import load_method
from lesionlab.training.ending import Diverged
from lesionlab.training.launch import ENDED, JOB, START, Job, write_ending
from lesionlab.training.stop import Interrupted

_FAILED = 1
_PATIENCE_S, _POLL_S = 10, 0.05


def main(place: Path) -> int:
    """Train by the job in this folder; the exit status. The process that leads leaves word of what went wrong."""
    leads = os.environ.get("RANK", "0") == "0"
    end_with_stdin()
    logging.basicConfig(level=logging.INFO if leads else logging.WARNING, format="%(message)s")
    job = Job.model_validate_json((place / JOB).read_text(encoding="utf-8"))
    status = _train(job, place, leads)
    if status != _FAILED:
        _leave_the_others()
    return status


def _train(job: Job, place: Path, leads: bool) -> int:
    try:
        job.run(load_method(place / START).train(), leads)
    except (InputError, Diverged, Interrupted) as error:
        if leads:
            write_ending(place, error)
        else:
            print(error, file=sys.stderr)
            _wait_for(place / ENDED)
        return error.exit_status if isinstance(error, Interrupted) else _FAILED
    except Exception as error:
        if leads:
            write_ending(place, error)
        raise
    return 0


def _leave_the_others() -> None:
    """At an end that all processes reach: let go what they share.

    gloo's threads that outlive the interpreter end a finished process by SIGABRT now and then
    (github.com/pytorch/pytorch/pull/179291). After a failure the others may wait for this process, and letting go hang.
    """
    if torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()


def _wait_for(path: Path) -> None:
    """Let the first process leave its word: torchrun ends all as soon as one has ended."""
    deadline = time.monotonic() + _PATIENCE_S
    while not path.exists() and time.monotonic() < deadline:
        time.sleep(_POLL_S)


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
