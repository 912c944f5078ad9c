"""Engines: where the studies of a stage are computed, how many at a time, and with how much memory."""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace

from lesionlab.stages.memory import GIB, machine_bytes

_OWN_PROCESS = 2  # workers from which on a task is not computed in the calling process

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Engine:
    """Worker processes of this machine, or those of a Dask cluster.

    Attributes:
        workers: processes on this machine; 1 computes in the calling process. Of no account with a scheduler.
        scheduler: address of a Dask scheduler (``tcp://host:8786``); its workers compute then, whatever their number.
        memory_gb: what one worker may take, GB of 2^30 bytes; ``None``: as much as is free.
    """

    workers: int = 1
    scheduler: str | None = None
    memory_gb: float | None = None

    def alone(self) -> Engine:
        """One that gives a single task a worker process to itself, which it may kill."""
        return self if self.scheduler else replace(self, workers=_OWN_PROCESS)

    def processes(self, tasks: int) -> int:
        """How many processes to start here: no more than there are tasks, nor than the machine has memory for."""
        wanted = max(1, min(self.workers, tasks))
        if self.memory_gb is None:
            return wanted
        there = machine_bytes() / GIB
        fitting = max(1, int(there / self.memory_gb))
        if fitting < wanted:
            _log.warning(
                "%d workers of %g GB each (run.memory_gb) exceed the %.1f GB of this machine: %d at a time",
                wanted,
                self.memory_gb,
                there,
                fitting,
            )
        return min(wanted, fitting)
