"""A run's batches in their order, read ahead where they come from far."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType

import numpy as np
import torch

from lesionlab.errors import InputError
from lesionlab.slices.batches import Batch, EpochSampler, Shuffle, Slices, SliceSource
from lesionlab.training.options import TrainingOptions
from lesionlab.training.ranks import Ranks


class Loader:
    """Gives batch after batch, epoch after epoch; use as a context manager.

    Args:
        slices: all of a run's.
        sampler: their order; the loader moves it on.
        ranks: of which this process takes its part of each batch.
        ahead: whether a thread reads the next batch while this one is trained on.
    """

    def __init__(self, slices: SliceSource, sampler: EpochSampler, ranks: Ranks, ahead: bool) -> None:
        self.slices, self.sampler, self.ranks = slices, sampler, ranks
        self._indices = endless(sampler)
        self._reader = ThreadPoolExecutor(1, "loader") if ahead else None
        self._next: tuple[Future[Batch], dict[str, int]] | None = None
        self._state = sampler.state_dict()

    def __enter__(self) -> Loader:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._reader:
            self._reader.shutdown(cancel_futures=True)

    def take(self) -> Batch:
        """The next batch."""
        if self._reader is None:
            batch = self._fetch(next(self._indices))
            self._state = self.sampler.state_dict()
            return batch
        future, state = self._next or self._read_ahead(self._reader)
        batch = future.result()
        self._state, self._next = state, self._read_ahead(self._reader)
        return batch

    def _read_ahead(self, reader: ThreadPoolExecutor) -> tuple[Future[Batch], dict[str, int]]:
        future = reader.submit(self._fetch, next(self._indices))
        return future, self.sampler.state_dict()

    def _fetch(self, indices: np.ndarray) -> Batch:
        return self.slices.take(self.ranks.part(indices))

    def state_dict(self) -> dict[str, int]:
        """The sampler's state behind the last batch that was given out: what was read ahead does not count."""
        return self._state


def endless(sampler: EpochSampler) -> Iterator[np.ndarray]:
    """Batches of indices, epoch after epoch."""
    while True:
        yield from sampler


def reads_ahead(slices: SliceSource, device: torch.device) -> bool:
    """Whether a batch comes from far: from the disk, or to another device."""
    return not isinstance(slices, Slices) or slices.device != device


def make_sampler(count: int, options: TrainingOptions, processes: int = 1) -> EpochSampler:
    """Full batches only: a batch of one upsets batch norm.

    Raises:
        InputError: there is not one full batch, or it cannot be divided into equal parts.
    """
    size, parts = options.batch_size, options.accumulate * processes
    if size > count:
        raise InputError(
            "a batch is larger than the training set",
            given=f"batch_size {size}, {count} slices",
            allowed=f"at most {count}",
            cure="lower batch_size, or train on more slices",
        )
    if size % parts:
        raise InputError(
            "a batch cannot be divided into equal parts, whose gradients would weigh the same",
            given=f"batch_size {size}, accumulate {options.accumulate}, {processes} processes",
            allowed=f"multiples of {parts}",
            cure="change batch_size, accumulate or devices",
        )
    shuffle = Shuffle(options.shuffle_block, options.shuffle_buffer)
    return EpochSampler(count, size, options.seed, drop_last=True, shuffle=shuffle)
