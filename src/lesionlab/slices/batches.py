"""Slices in memory, batches from them, and the order in which a training run meets them. torch and NumPy only."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple, Protocol

import numpy as np
import torch
from torch import Tensor

from lesionlab.errors import InputError

FIELDS = ("images", "labels", "atlas", "tissues")  # a file of a slice store for each, in this order
TISSUES = 3  # CSF, GM, WM
_STORED = {"images": torch.float32, "labels": torch.uint8, "atlas": torch.float32, "tissues": torch.float32}

Domain = Literal["all", "healthy", "pathological"]


class Stream(NamedTuple):
    """Which slices a method's steps see, and which of their fields.

    Attributes:
        domain: healthy or pathological slices, or all of them.
        fields: of :class:`Batch`; a field that is not named here is never read.
    """

    domain: Domain = "all"
    fields: tuple[str, ...] = ("images",)


class Batch:
    """What a training step receives of a stream: the fields that the stream names, and no others.

    Attributes:
        images: ``(N, C, H, W)`` float32 in [-1, 1].
        labels: ``(N, H, W)`` int64 label maps: 0 background, 1 normal brain, 2.. lesion classes.
        atlas: ``(N, 3 C, H, W)`` float32 in [-1, 1].
        tissues: ``(N, 3, H, W)`` float32 in [0, 1]: CSF, GM, WM.

    Raises:
        InputError: when a field is read that the batch does not hold.
    """

    def __init__(self, **fields: Tensor) -> None:
        if unknown := sorted(set(fields) - set(FIELDS)):
            raise ValueError(f"a batch has no {', '.join(unknown)}; its fields are {', '.join(FIELDS)}")
        self._fields = {name: fields[name] for name in FIELDS if name in fields}

    @property
    def fields(self) -> tuple[str, ...]:
        """Names of the fields that it holds."""
        return tuple(self._fields)

    @property
    def tensors(self) -> dict[str, Tensor]:
        """The fields that it holds."""
        return dict(self._fields)

    def __len__(self) -> int:
        """Number of slices."""
        return len(next(iter(self._fields.values())))

    @property
    def images(self) -> Tensor:
        """``(N, C, H, W)`` float32 in [-1, 1]."""
        return self._get("images")

    @property
    def labels(self) -> Tensor:
        """``(N, H, W)`` int64."""
        return self._get("labels")

    @property
    def atlas(self) -> Tensor:
        """``(N, 3 C, H, W)`` float32 in [-1, 1]."""
        return self._get("atlas")

    @property
    def tissues(self) -> Tensor:
        """``(N, 3, H, W)`` float32 in [0, 1]."""
        return self._get("tissues")

    def _get(self, name: str) -> Tensor:
        if name not in self._fields:
            raise InputError(
                f"a method reads {name}, which its stream does not name",
                given=f"a stream with the fields {', '.join(self._fields)}",
                allowed="the fields of the stream",
                cure=f"add {name!r} to the fields of the method's stream, or do without",
            )
        return self._fields[name]

    def map(self, change: Callable[[Tensor], Tensor]) -> Batch:
        """Every field changed alike, for example moved to a device."""
        return Batch(**{name: change(tensor) for name, tensor in self._fields.items()})

    def replace(self, **fields: Tensor) -> Batch:
        """Some fields replaced or added."""
        return Batch(**{**self._fields, **fields})

    def only(self, fields: Sequence[str]) -> Batch:
        """These fields alone."""
        return Batch(**{name: self._get(name) for name in fields})

    def chunk(self, parts: int) -> list[Batch]:
        """Equal parts, in order."""
        pieces = {name: tensor.chunk(parts) for name, tensor in self._fields.items()}
        return [Batch(**{name: pieces[name][at] for name in pieces}) for at in range(parts)]


class SliceSource(Protocol):
    """Slices in memory (`Slices`) or on disk (`lesionlab.slices.mapped.MappedSlices`)."""

    @property
    def fields(self) -> tuple[str, ...]:
        """Names of the fields that batches hold."""

    def __len__(self) -> int: ...

    @property
    def device(self) -> torch.device:
        """Where batches come from."""

    def take(self, indices: Tensor | np.ndarray | Sequence[int]) -> Batch:
        """The slices at these places, in this order."""

    def label_maps(self) -> Iterator[Tensor]:
        """All label maps ``(n, H, W)`` uint8, in one or several pieces; none where labels are no field."""


class Slices:
    """All slices of a stream, on one device. Fields and shapes as in `Batch`; labels are kept as uint8."""

    def __init__(self, **fields: Tensor) -> None:
        if len(lengths := {len(part) for part in fields.values()}) != 1:
            raise ValueError(f"{', '.join(fields)} must have one length, got {sorted(lengths)}")
        self._fields = {name: fields[name] for name in FIELDS if name in fields}

    @property
    def fields(self) -> tuple[str, ...]:
        """Names of the fields that batches hold."""
        return tuple(self._fields)

    @property
    def tensors(self) -> dict[str, Tensor]:
        """The fields, labels as uint8."""
        return dict(self._fields)

    def __len__(self) -> int:
        return len(next(iter(self._fields.values())))

    @property
    def device(self) -> torch.device:
        """Where the slices lie."""
        return next(iter(self._fields.values())).device

    @classmethod
    def from_arrays(
        cls,
        images: np.ndarray | None = None,
        labels: np.ndarray | None = None,
        atlas: np.ndarray | None = None,
        tissues: np.ndarray | None = None,
        device: torch.device | str = "cpu",
    ) -> Slices:
        """From NumPy arrays, for example ``Slices.from_arrays(*store.batch(indices))``; copies them."""
        given = zip(FIELDS, (images, labels, atlas, tissues), strict=True)
        return cls(
            **{
                name: torch.tensor(np.asarray(array), dtype=_STORED[name], device=device)
                for name, array in given
                if array is not None
            }
        )

    def first(self, count: int) -> Slices:
        """The first slices of the set, without a copy."""
        return Slices(**{name: tensor[:count] for name, tensor in self._fields.items()})

    def to(self, device: torch.device) -> Slices:
        """The slices on another device."""
        return Slices(**{name: tensor.to(device) for name, tensor in self._fields.items()})

    def all(self) -> Batch:
        """All slices, as a batch."""
        return self.take(np.arange(len(self)))

    def label_maps(self) -> Iterator[Tensor]:
        """All label maps ``(N, H, W)`` uint8, in one piece; none where labels are no field."""
        if "labels" in self._fields:
            yield self._fields["labels"]

    def take(self, indices: Tensor | np.ndarray | Sequence[int]) -> Batch:
        """The slices at these places, in this order."""
        places = torch.as_tensor(indices, dtype=torch.int64, device=self.device)
        taken = {name: tensor[places] for name, tensor in self._fields.items()}
        if "labels" in taken:
            taken["labels"] = taken["labels"].long()
        return Batch(**taken)


def concatenate(parts: Sequence[Slices]) -> Slices:
    """Several sets of slices as one, in order: for example real ones, then synthetic ones.

    Raises:
        ValueError: no part, or parts whose fields, channels or sizes differ.
    """
    if not parts:
        raise ValueError("there is nothing to concatenate")
    shapes = {tuple((name, tuple(tensor.shape[1:])) for name, tensor in part.tensors.items()) for part in parts}
    if len(shapes) != 1:
        raise ValueError(f"slices of different shapes cannot be joined: {sorted(shapes)}")
    return Slices(**{name: torch.cat([part.tensors[name] for part in parts]) for name in parts[0].fields})


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
