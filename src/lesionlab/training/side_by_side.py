"""Trainings that need nothing of each other, several at once: each in its process, on its cores or its GPU.

One small network leaves most of a machine idle. As many trainings as there are GPUs end that many times sooner, where
one training on all of them would wait for gradients; and two of one thread each outrun one after the other of two.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from queue import SimpleQueue
from typing import Any, TypeVar

import torch

from lesionlab.training.processes import Processes
from lesionlab.training.stop import Interrupted

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
        threads = max(1, _cores() // (devices * self.places))
        gpus = {GPUS: ",".join(self._gpus(devices))} if self.apart and torch.cuda.is_available() else {}
        return {"OMP_NUM_THREADS": str(threads), **os.environ, **self.environment, **gpus}

    def _gpus(self, devices: int) -> list[str]:
        given = os.environ.get(GPUS)
        every = given.split(",") if given else [str(number) for number in range(torch.cuda.device_count())]
        return sorted({every[(self.number * devices + i) % len(every)] for i in range(devices)})


def _cores() -> int:
    """Those that this process may use, which a cluster's scheduler makes fewer than the machine's."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


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
        Exception: what the first that failed raised, before any that was asked to stop; others are logged.
        Interrupted: a signal came between two works.
    """
    processes = Processes()
    if places == 1:
        place = Place(environment=environment or {}, processes=processes)
        return {name: work(place) for name, work in works.items()}
    crew = _Crew(places, environment or {}, processes)
    with processes.handing_on_signals():
        crew.do(works)
    return {name: crew.results[name] for name in works}


class _Crew:
    """As many threads as places; each waits for the processes of its training."""

    def __init__(self, places: int, environment: Mapping[str, str], processes: Processes) -> None:
        self.results: dict[str, Any] = {}
        self._processes = processes
        self._errors: list[tuple[str, Exception]] = []  # as they came about
        self._places: SimpleQueue[Place] = SimpleQueue()
        for number in range(places):
            self._places.put(Place(number, places, environment, processes))
        self._pool = ThreadPoolExecutor(places)

    def do(self, works: Mapping[str, Callable[[Place], Any]]) -> None:
        """All of them, or those at work when one fails or a signal comes."""
        with self._pool:
            try:
                for name, work in works.items():
                    self._pool.submit(self._one, name, work)
                self._pool.shutdown(wait=True)
            except BaseException:  # Ctrl-C; leaving the pool would wait for all that has not begun
                self._processes.terminate()
                raise
        self._raise()
        if self._processes.asked:
            raise Interrupted(
                "a trial", "as a signal asked between two trainings", None, None, "the experiment's folder"
            )

    def _one(self, name: str, work: Callable[[Place], Any]) -> None:
        if self._errors or self._processes.asked:
            return
        place = self._places.get()
        try:
            self.results[name] = work(place)
        except Exception as error:
            self._errors.append((name, error))
        finally:
            self._places.put(place)

    def _raise(self) -> None:
        """Raise the first failure, else the first that was asked to stop; log the others."""
        ordered = sorted(self._errors, key=lambda told: isinstance(told[1], Interrupted))
        for name, error in ordered[1:]:
            _log.error("%s: %s", name, error, exc_info=not isinstance(error, Interrupted) and error)
        if ordered:
            raise ordered[0][1]
