"""One training step of a method: backward passes, means over parts of the batch and over processes, optimizers.

A batch may be taken in parts to save memory. A method's step calls ``step.update(name, loss)`` once per optimizer, in
the order of its paper: a GAN updates D first, and G then plays against the new D. Adding up all gradients of each part
at the old weights would turn this into another algorithm, in which both move at once. So the parts pass by once for
each update: in the first pass each part's step goes as far as the first update, whose gradients add up over the parts
before its optimizer steps; in the second pass each part goes through the step again, as far as the second; and so on.
Every pass draws the same random numbers for a part, and finds the running statistics of norm layers as before the step.
The gradients are those of the whole batch where losses are means over slices and norm layers look at single slices
(instance norm). Batch norm and Dice over a batch see a part's slices alone.

The price is time: the forward passes before an update are taken again. A method with one update pays nothing.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.optim import Optimizer

from lesionlab.methods.base import Batches, Method
from lesionlab.training.device import lower_precision
from lesionlab.training.ranks import Ranks

if TYPE_CHECKING:
    from lightning.fabric import Fabric


_SEEDS = 2**62  # to choose from, one for each part


Update = Callable[[str, Tensor], None]


@dataclass(frozen=True)
class TrainingStep:
    """A step as a method sees it, see :class:`lesionlab.methods.base.Step`."""

    number: int
    total: int
    update: Update


class _Enough(Exception):
    """Ends a part's step behind the update that this pass is for."""


class Stepper:
    """Takes a method's training steps.

    Args:
        method: what is trained.
        optimizers: the method's, by name.
        fabric: device and precision.
        ranks: the processes, over which gradients are averaged.
        clip_norm: largest norm of an update's gradients; None: no clipping.
        parts: in how many parts a batch is taken; its size must be a multiple.
        total: steps of the whole training.
    """

    def __init__(
        self,
        method: Method,
        optimizers: Mapping[str, Optimizer],
        fabric: Fabric,
        ranks: Ranks,
        clip_norm: float | None = None,
        parts: int = 1,
        total: int = 0,
    ) -> None:
        self.method, self.optimizers, self.fabric, self.ranks = method, optimizers, fabric, ranks
        self.clip_norm, self.parts, self.total = clip_norm, parts, total
        self._number = 0
        self._updates: int | None = None  # in a step; known after the first
        self._due = ""  # whose gradients a pass added up

    def take(self, batches: Batches, number: int) -> dict[str, Tensor]:
        """One step; the method's scalars, means over the parts (those of the last pass: see the module).

        Args:
            batches: a batch of each stream.
            number: of the step: 0, 1, ..
        """
        self._number = number
        with lower_precision(self.fabric):
            if self.parts == 1:
                return self.method.training_step(batches, self._step(self._update))
            pieces = {name: batch.chunk(self.parts) for name, batch in batches.items()}
            return self._take_in_parts([{name: pieces[name][at] for name in pieces} for at in range(self.parts)])

    def _step(self, update: Update) -> TrainingStep:
        return TrainingStep(self._number, self.total, update)

    def _update(self, name: str, loss: Tensor) -> None:
        """One step of the named optimizer down this loss."""
        self.optimizers[name].zero_grad(set_to_none=True)
        self._backward(loss)
        self._finish(name)

    def _backward(self, loss: Tensor) -> None:
        with torch.autocast(self.fabric.device.type, enabled=False):
            self.fabric.backward(loss)

    def _finish(self, name: str) -> None:
        """Average gradients over processes, clip them, step."""
        optimizer = self.optimizers[name]
        parameters = [p for group in optimizer.param_groups for p in group["params"]]
        self.ranks.average([p.grad for p in parameters if p.grad is not None])
        if self.clip_norm:
            torch.nn.utils.clip_grad_norm_(parameters, self.clip_norm)
        optimizer.step()

    def _take_in_parts(self, parts: list[Batches]) -> dict[str, Tensor]:
        """A pass for each update, until the steps of the parts come to their ends."""
        seeds, statistics = torch.randint(_SEEDS, (len(parts),)).tolist(), [b.clone() for b in self.method.buffers()]
        after = torch.get_rng_state()
        for number in itertools.count():
            results = []
            for index, part in enumerate(parts):
                torch.manual_seed(seeds[index])
                results.append(self._pass(part, number, first=index == 0))
            self._finish(self._due)
            whole = [result for result in results if result is not None]
            if whole:
                break
            for buffer, value in zip(self.method.buffers(), statistics, strict=True):
                buffer.copy_(value)
        self._updates = number + 1
        torch.set_rng_state(after)
        return {name: torch.stack([result[name] for result in whole]).mean(0) for name in whole[0]}

    def _pass(self, part: Batches, number: int, first: bool) -> dict[str, Tensor] | None:
        """A part's step, of whose updates only this number's goes backward; None where it was broken off behind it."""
        calls = itertools.count()

        def update(name: str, loss: Tensor) -> None:
            call = next(calls)
            if call > number:
                raise _Enough
            if call < number:
                return
            if first:
                self.optimizers[name].zero_grad(set_to_none=True)
            self._backward(loss / self.parts)
            self._due = name
            if self._updates is not None and call + 1 < self._updates:
                raise _Enough

        try:
            return self.method.training_step(part, self._step(update))
        except _Enough:
            return None
