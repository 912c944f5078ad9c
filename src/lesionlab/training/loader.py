"""A run's batches of each stream in their order, read ahead where they come from disk or another device."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType

import numpy as np
import torch

from lesionlab.errors import InputError
from lesionlab.slices.batches import Batch, EpochSampler, Shuffle, Slices, SliceSource
from lesionlab.training.options import TrainingOptions
from lesionlab.training.randomness import seed_of
from lesionlab.training.ranks import Ranks

Places = dict[str, np.ndarray]
State = dict[str, dict[str, int]]


class Loader:
    """Gives a batch of each stream, again and again; use as a context manager.

    Each stream is drawn by its own sampler, independently, and mixed anew whenever it is used up.

    Args:
        streams: a run's slices by stream.
        samplers: their order, by stream; the loader moves them on.
        ranks: of which this process takes its part of each batch.
        ahead: whether a thread reads the next batches while these are trained on.
    """

    def __init__(
        self, streams: Mapping[str, SliceSource], samplers: Mapping[str, EpochSampler], ranks: Ranks, ahead: bool
    ) -> None:
        self.streams, self.samplers, self.ranks = streams, samplers, ranks
        self._indices = {name: endless(sampler) for name, sampler in samplers.items()}
        self._reader = ThreadPoolExecutor(1, "loader") if ahead else None
        self._next: tuple[Future[dict[str, Batch]], State] | None = None
        self._state = self._samplers_state()

    def __enter__(self) -> Loader:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._reader:
            self._reader.shutdown(cancel_futures=True)

    def take(self) -> dict[str, Batch]:
        """The next batch of each stream."""
        if self._reader is None:
            batches = self._fetch(self._places())
            self._state = self._samplers_state()
            return batches
        future, state = self._next or self._read_ahead(self._reader)
        batches = future.result()
        self._state, self._next = state, self._read_ahead(self._reader)
        return batches

    def _read_ahead(self, reader: ThreadPoolExecutor) -> tuple[Future[dict[str, Batch]], State]:
        future = reader.submit(self._fetch, self._places())
        return future, self._samplers_state()

    def _places(self) -> Places:
        return {name: next(indices) for name, indices in self._indices.items()}

    def _fetch(self, places: Places) -> dict[str, Batch]:
        return {name: self.streams[name].take(self.ranks.part(indices)) for name, indices in places.items()}

    def _samplers_state(self) -> State:
        return {name: sampler.state_dict() for name, sampler in self.samplers.items()}

    def state_dict(self) -> State:
        """The samplers' states behind the last batches that were given out: what was read ahead does not count."""
        return self._state


def endless(sampler: EpochSampler) -> Iterator[np.ndarray]:
    """Batches of indices, epoch after epoch."""
    while True:
        yield from sampler


def reads_ahead(slices: SliceSource, device: torch.device) -> bool:
    """Whether a batch comes from far: from the disk, or to another device."""
    return not isinstance(slices, Slices) or slices.device != device


def make_samplers(
    streams: Mapping[str, SliceSource], options: TrainingOptions, processes: int = 1
) -> dict[str, EpochSampler]:
    """A sampler for each stream, of its own seed; the first stream's is the training's.

    Raises:
        InputError: see :func:`make_sampler`.
    """
    seeds = [options.seed, *(seed_of(options.seed, at) for at in range(1, len(streams)))]
    return {
        name: make_sampler(name, len(slices), options.model_copy(update={"seed": seed}), processes)
        for (name, slices), seed in zip(streams.items(), seeds, strict=True)
    }


def make_sampler(stream: str, count: int, options: TrainingOptions, processes: int = 1) -> EpochSampler:
    """Full batches only: a batch of one upsets batch norm.

    Raises:
        InputError: there is not one full batch, or it cannot be divided into equal parts.
    """
    size, parts = options.batch_size, options.accumulate * processes
    if size > count:
        raise InputError(
            "a batch is larger than the training set",
            given=f"batch_size {size}, {count} slices in the stream {stream!r}",
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
