"""Slices in memory, batches from them, and the order in which a training run meets them. torch and NumPy only."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import numpy as np
import torch
from torch import Tensor


class Batch(NamedTuple):
    """What a training step receives.

    Attributes:
        images: ``(N, C, H, W)`` float32 in [-1, 1].
        labels: ``(N, H, W)`` int64 label maps: 0 background, 1 normal brain, 2.. lesion classes.
        atlas: ``(N, 3 C, H, W)`` float32 in [-1, 1].
        tissues: ``(N, 3, H, W)`` float32 in [0, 1]: CSF, GM, WM.
    """

    images: Tensor
    labels: Tensor
    atlas: Tensor
    tissues: Tensor


class SliceSource(Protocol):
    """Slices in memory (`Slices`) or on disk (`lesionlab.slices.mapped.MappedSlices`)."""

    def __len__(self) -> int: ...

    @property
    def device(self) -> torch.device:
        """Where batches come from."""

    def take(self, indices: Tensor | np.ndarray | Sequence[int]) -> Batch:
        """The slices at these places, in this order."""

    def label_maps(self) -> Iterator[Tensor]:
        """All label maps ``(n, H, W)`` uint8, in one or several pieces."""


@dataclass(frozen=True)
class Slices:
    """All slices of a run, on one device. Shapes as in `Batch`; labels rest there as uint8."""

    images: Tensor
    labels: Tensor
    atlas: Tensor
    tissues: Tensor

    def __post_init__(self) -> None:
        lengths = {len(part) for part in (self.images, self.labels, self.atlas, self.tissues)}
        if len(lengths) != 1:
            raise ValueError(f"images, labels, atlas and tissues must have one length, got {sorted(lengths)}")

    def __len__(self) -> int:
        return len(self.images)

    @property
    def device(self) -> torch.device:
        """Where the slices lie."""
        return self.images.device

    @classmethod
    def from_arrays(
        cls,
        images: np.ndarray,
        labels: np.ndarray,
        atlas: np.ndarray,
        tissues: np.ndarray,
        device: torch.device | str = "cpu",
    ) -> Slices:
        """From NumPy arrays, for example ``Slices.from_arrays(*store.batch(indices))``; copies them."""

        def place(array: np.ndarray, dtype: torch.dtype) -> Tensor:
            return torch.tensor(np.asarray(array), dtype=dtype, device=device)

        return cls(
            place(images, torch.float32),
            place(labels, torch.uint8),
            place(atlas, torch.float32),
            place(tissues, torch.float32),
        )

    def first(self, count: int) -> Slices:
        """The first slices of the set, without a copy."""
        return Slices(self.images[:count], self.labels[:count], self.atlas[:count], self.tissues[:count])

    def all(self) -> Batch:
        """All slices, as a batch."""
        return self.take(np.arange(len(self)))

    def label_maps(self) -> Iterator[Tensor]:
        """All label maps ``(N, H, W)`` uint8, in one piece."""
        yield self.labels

    def take(self, indices: Tensor | np.ndarray | Sequence[int]) -> Batch:
        """The slices at these places, in this order."""
        places = torch.as_tensor(indices, dtype=torch.int64, device=self.device)
        return Batch(self.images[places], self.labels[places].long(), self.atlas[places], self.tissues[places])


def concatenate(parts: Sequence[Slices]) -> Slices:
    """Several sets of slices as one, in order: for example real ones, then synthetic ones.

    Raises:
        ValueError: no part, or parts whose pictures differ in channels or size.
    """
    if not parts:
        raise ValueError("there is nothing to concatenate")
    shapes = {(tuple(p.images.shape[1:]), tuple(p.atlas.shape[1:]), tuple(p.tissues.shape[1:])) for p in parts}
    if len(shapes) != 1:
        raise ValueError(f"slices of different shapes cannot be joined: {sorted(shapes)}")
    return Slices(
        torch.cat([p.images for p in parts]),
        torch.cat([p.labels for p in parts]),
        torch.cat([p.atlas for p in parts]),
        torch.cat([p.tissues for p in parts]),
    )


@dataclass(frozen=True)
class Shuffle:
    """How slices are mixed: all with all, or, for slices on slow disks, blocks of neighbours within a buffer.

    Attributes:
        block: neighbouring slices that stay close; 1 mixes all with all.
        buffer: slices that are mixed with one another once the blocks are in random order.
    """

    block: int = 1
    buffer: int = 1

    def order(self, n: int, draw: np.random.Generator) -> np.ndarray:
        """A random order ``(n,)``, in which every slice comes once."""
        if self.block == 1:
            return draw.permutation(n)
        starts = draw.permutation(np.arange(0, n, self.block))
        order = np.concatenate([np.arange(start, min(start + self.block, n)) for start in starts])
        for start in range(0, n, self.buffer):
            draw.shuffle(order[start : start + self.buffer])
        return order


_ALL_WITH_ALL = Shuffle()


class EpochSampler:
    """Random order, a new one each epoch, the same for the same seed; can go on where it stopped.

    Iterating yields the rest of the current epoch, as index arrays ``(<= batch_size,)`` int64, and then moves on to the
    next epoch. The last batch of an epoch is smaller, or left out with `drop_last`; nothing is padded.

    Args:
        n: number of slices.
        batch_size: slices per batch.
        seed: of the whole run; the order of an epoch depends on it and on the epoch's number alone.
        drop_last: leave out a last batch that is not full.
        shuffle: how slices are mixed.

    Raises:
        ValueError: an epoch would hold no batch.
    """

    def __init__(
        self, n: int, batch_size: int, seed: int, drop_last: bool = False, shuffle: Shuffle = _ALL_WITH_ALL
    ) -> None:
        if n < 1 or batch_size < 1 or (drop_last and n < batch_size):
            raise ValueError(f"{n} slices in batches of {batch_size} (drop_last={drop_last}) make no batch")
        self.n, self.batch_size, self.seed, self.drop_last = n, batch_size, seed, drop_last
        self.shuffle = shuffle
        self.epoch = 0
        self.position = 0  # the epoch's next batch

    def __len__(self) -> int:
        """Batches per epoch."""
        return self.n // self.batch_size if self.drop_last else -(-self.n // self.batch_size)

    def order(self, epoch: int) -> np.ndarray:
        """The order ``(n,)`` of an epoch."""
        return self.shuffle.order(self.n, np.random.default_rng([self.seed, epoch]))

    def __iter__(self) -> Iterator[np.ndarray]:
        epoch, batches = self.epoch, len(self)
        order = self.order(epoch)
        for number in range(self.position, batches):
            # Moved on before the batch is given out, so that a checkpoint taken in its step does not repeat it.
            self.epoch, self.position = (epoch, number + 1) if number + 1 < batches else (epoch + 1, 0)
            yield order[number * self.batch_size : (number + 1) * self.batch_size]

    def state_dict(self) -> dict[str, int]:
        """Where the sampler stands, as plain numbers."""
        return {
            "n": self.n,
            "batch_size": self.batch_size,
            "seed": self.seed,
            "drop_last": int(self.drop_last),
            "block": self.shuffle.block,
            "buffer": self.shuffle.buffer,
            "epoch": self.epoch,
            "position": self.position,
        }

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Go on from there.

        Raises:
            ValueError: the state belongs to a sampler of another size, batch size, seed or shuffle.
        """
        own = self.state_dict()
        different = [k for k in own if k not in ("epoch", "position") and state.get(k) != own[k]]
        if different:
            given = {k: state.get(k) for k in different}
            raise ValueError(f"this sampler cannot go on from another's state: {given} against {own}")
        self.epoch, self.position = state["epoch"], state["position"]
