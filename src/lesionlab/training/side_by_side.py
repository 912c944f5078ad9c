"""Trainings that need nothing of each other, several at once: each in its process, on its cores or its GPU.

One small network leaves most of a machine idle. As many trainings as there are GPUs end that many times sooner, where
one training on all of them would wait for gradients; and two of one thread each outrun one after the other of two.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Mapping
from concurrent.futures import FIRST_EXCEPTION, CancelledError, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from queue import SimpleQueue
from typing import TypeVar

import torch

from lesionlab.training.processes import Processes

GPUS = "CUDA_VISIBLE_DEVICES"

_log = logging.getLogger(__name__)

Result = TypeVar("Result")


@dataclass(frozen=True)
class Place:
    """Where a training runs.

    Attributes:
        number: of this place among the places.
        places: how many trainings run at once; with more than one, each has processes of its own.
        environment: variables for its processes, beside this process's own.
        processes: those that a signal is handed on to.
    """

    number: int = 0
    places: int = 1
    environment: Mapping[str, str] = field(default_factory=dict)
    processes: Processes = field(default_factory=Processes)

    @property
    def apart(self) -> bool:
        """Whether even a training on one device has a process of its own."""
        return self.places > 1

    def variables(self, devices: int) -> dict[str, str]:
        """The environment of a training on ``devices``: its share of the cores, GPUs of its own where there are."""
        threads = max(1, (os.cpu_count() or 1) // (devices * self.places))
        gpus = {GPUS: ",".join(self._gpus(devices))} if self.apart and torch.cuda.is_available() else {}
        return {"OMP_NUM_THREADS": str(threads), **os.environ, **self.environment, **gpus}

    def _gpus(self, devices: int) -> list[str]:
        given = os.environ.get(GPUS)
        every = given.split(",") if given else [str(number) for number in range(torch.cuda.device_count())]
        return sorted({every[(self.number * devices + i) % len(every)] for i in range(devices)})


def side_by_side(
    works: Mapping[str, Callable[[Place], Result]], places: int = 1, environment: Mapping[str, str] | None = None
) -> dict[str, Result]:
    """Do all of the work, in order, at most ``places`` at once.

    Where one fails, those at work go on to their end, and no other begins. A signal to stop is handed on to all.

    Args:
        works: by name; each is called with the place it has.
        places: 1: one after the other, in this process as far as one device is enough.
        environment: variables for all processes.

    Returns:
        The results, by name.

    Raises:
        Exception: the first that any of them raised; others are logged.
    """
    environment, processes = environment or {}, Processes()
    if places == 1:
        return {name: work(Place(environment=environment, processes=processes)) for name, work in works.items()}
    free: SimpleQueue[int] = SimpleQueue()
    for number in range(places):
        free.put(number)

    def one(work: Callable[[Place], Result]) -> Result:
        if processes.asked:
            raise CancelledError
        number = free.get()
        try:
            return work(Place(number, places, environment, processes))
        finally:
            free.put(number)

    with processes.handing_on_signals(), ThreadPoolExecutor(places) as pool:
        running = {name: pool.submit(one, work) for name, work in works.items()}
        wait(running.values(), return_when=FIRST_EXCEPTION)
        for waiting in running.values():
            waiting.cancel()
    _raise_first(running)
    return {name: done.result() for name, done in running.items()}


def _raise_first(ended: Mapping[str, Future[Result]]) -> None:
    """Raise the first error; say the others."""
    told = {name: work.exception() for name, work in ended.items() if not work.cancelled()}
    errors = {name: error for name, error in told.items() if error and not isinstance(error, CancelledError)}
    for name, error in list(errors.items())[1:]:
        _log.error("%s: %s", name, error)
    for error in errors.values():
        raise error
