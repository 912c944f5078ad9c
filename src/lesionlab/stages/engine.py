"""Engine: where the studies of a stage are computed, how many at a time, and with how much memory."""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace

from lesionlab.stages.memory import GIB, free_for_workers, machine_bytes

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

    @property
    def has_processes(self) -> bool:
        """Whether studies are computed in worker processes of this machine."""
        return self.scheduler is None and self.workers > 1

    def alone(self) -> Engine:
        """One that gives a single task a worker process to itself, which it may kill."""
        return self if self.scheduler else replace(self, workers=_OWN_PROCESS)

    def processes(self, tasks: int, need: int = 0) -> int:
        """How many processes to start on this machine, decided once: never more than there is memory for.

        Args:
            tasks: how many there are; no more processes start.
            need: what the largest of them takes, bytes; 0: unknown. It counts where ``memory_gb`` is ``None``, against
                the memory that is free now; ``memory_gb`` counts against that of the machine.
        """
        wanted = max(1, min(self.workers, tasks))
        if self.memory_gb is not None:
            share, total, origin = self.memory_gb * GIB, machine_bytes(), "run.memory_gb; the machine has"
        else:
            share, total, origin = need, free_for_workers(), "the largest study's need; free are"
        fitting = max(1, int(total / share)) if share else wanted
        if fitting < wanted:
            text = "%d workers instead of %d: each may take %.1f GB (%s %.1f GB)"
            _log.warning(text, fitting, wanted, share / GIB, origin, total / GIB)
        return min(wanted, fitting)
