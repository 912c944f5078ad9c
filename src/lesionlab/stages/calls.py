"""One call of a stage's work, wherever it runs: one thread, and random numbers that depend on the task alone."""

from __future__ import annotations

import os
import random
import sys
import zlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import numpy as np
from threadpoolctl import threadpool_limits

from lesionlab.imaging.ants_bridge import reproducible_environment

Task = TypeVar("Task")
Result = TypeVar("Result")


class WorkerLost(RuntimeError):
    """A worker process ended without an answer: killed, most often for lack of memory, or crashed in native code.

    Attributes:
        tasks: the names of those that a worker had been given and that were not yielded: one of them killed it.
    """

    def __init__(self, message: str, tasks: Iterable[str] = ()) -> None:
        super().__init__(message)
        self.tasks = frozenset(tasks)


@contextmanager
def environment(seed: int) -> Iterator[dict[str, str]]:
    """Set the variables for one thread and reproducible ANTs, and put them back afterwards."""
    values = reproducible_environment(seed + 1)  # ANTs takes 0 for "no seed"
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield values
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def call(work: Callable[[Task], Result], name: str, task: Task, seed: int) -> tuple[str, Result]:
    """``(name, work(task))`` with one thread and the task's own random numbers."""
    own_seed = zlib.crc32(f"{seed}/{name}".encode())
    with environment(seed), threadpool_limits(1), _one_itk_thread(), _seeded(own_seed), _torch_seeded(own_seed):
        return name, work(task)


@contextmanager
def _one_itk_thread() -> Iterator[None]:
    """Give SimpleITK one thread where it is loaded; where it is loaded later, the environment limits it."""
    sitk: Any = sys.modules.get("SimpleITK")
    if sitk is None:
        yield
        return
    threads = sitk.ProcessObject.GetGlobalDefaultNumberOfThreads()
    sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(1)
    try:
        yield
    finally:
        sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(threads)


@contextmanager
def _seeded(seed: int) -> Iterator[None]:
    """Seed the global generators, which libraries may draw from, and put their states back afterwards."""
    states = random.getstate(), np.random.get_state()
    random.seed(seed)
    np.random.seed(seed)
    try:
        yield
    finally:
        random.setstate(states[0])
        np.random.set_state(states[1])


@contextmanager
def _torch_seeded(seed: int) -> Iterator[None]:
    """Seed torch and give it one thread, where it is loaded; where it is loaded later, OMP_NUM_THREADS limits it."""
    torch: Any = sys.modules.get("torch")
    if torch is None:
        yield
        return
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            yield
    finally:
        torch.set_num_threads(threads)
