"""The processes of one run: each takes its part of every batch, and all take the same steps.

Gradients are averaged by hand after each backward pass, not by DistributedDataParallel around networks: a method calls
its networks several times in a step, and updates some of them between, which that wrapper forbids or gets wrong. So a
method knows nothing of it, and any number of optimizers works. The price: communication does not overlap the backward
pass.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
import torch
from torch import Tensor, distributed

if TYPE_CHECKING:
    from lightning.fabric import Fabric

T = TypeVar("T")


class Ranks:
    """This process among those of its run. With one process alone every method does nothing.

    Attributes:
        rank: this process's number; 0 leads: it alone writes, validates and reports.
        size: number of processes.
    """

    def __init__(self, rank: int = 0, size: int = 1) -> None:
        self.rank, self.size = rank, size

    @classmethod
    def of(cls, fabric: Fabric) -> Ranks:
        """Those of a launched Fabric."""
        return cls(fabric.global_rank, fabric.world_size)

    @property
    def leads(self) -> bool:
        """Whether this process is the one that writes."""
        return self.rank == 0

    def part(self, indices: np.ndarray) -> np.ndarray:
        """This process's part of a batch's indices, whose number ``size`` divides."""
        share = len(indices) // self.size
        return indices[self.rank * share : (self.rank + 1) * share]

    def average(self, tensors: Sequence[Tensor]) -> None:
        """Replace tensors, in place, by their means over all processes, in one exchange."""
        if self.size == 1 or not tensors:
            return
        together = torch.cat([t.reshape(-1) for t in tensors])
        distributed.all_reduce(together)
        together /= self.size
        for tensor, mean in zip(tensors, together.split([t.numel() for t in tensors]), strict=True):
            tensor.copy_(mean.view(tensor.shape))

    def copy_first(self, tensors: Iterable[Tensor]) -> None:
        """Replace tensors, in place, by those of the first process."""
        if self.size > 1:
            for tensor in tensors:
                distributed.broadcast(tensor, 0)

    def any(self, flag: bool) -> bool:
        """Whether the flag is set in any process; does not wait for the device."""
        if self.size == 1:
            return flag
        flags = torch.tensor(int(flag))
        distributed.all_reduce(flags, distributed.ReduceOp.MAX)
        return bool(flags)

    def from_first(self, thing: T) -> T:
        """The first process's value."""
        if self.size == 1:
            return thing
        box = [thing]
        distributed.broadcast_object_list(box, 0)
        return box[0]

    def gather(self, thing: T) -> list[T]:
        """Every process's value, by rank."""
        if self.size == 1:
            return [thing]
        boxes: list[Any] = [None] * self.size
        distributed.all_gather_object(boxes, thing)
        return boxes
