"""How a run ends before its last step, and what it says then."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor


class Diverged(FloatingPointError):
    """A loss or a weight is no longer finite, or a loss has left all bounds; nothing of that was saved.

    Args:
        method: what was trained.
        what: the losses or weights.
        how: what became of them.
        step: the step at which they first did.
        checkpoint: the last good one, if any had been written.
        saved: its step.
    """

    def __init__(self, method: str, what: str, how: str, step: int, checkpoint: Path | str, saved: int | None) -> None:
        self.what, self.step, self.saved = what, step, saved
        self.arguments = {
            "method": method,
            "what": what,
            "how": how,
            "step": step,
            "checkpoint": str(checkpoint),
            "saved": saved,
        }
        good = f"The last good checkpoint, {checkpoint}, is of step {saved}."
        kept = "No checkpoint had been written yet." if saved is None else good
        cure = "lower the learning rate, set clip_norm, or train in fp32"
        super().__init__(f"{method}: {what} {how} at step {step}. {kept} Cure: {cure}")


def earliest(broken: Sequence[Mapping[str, tuple[int, float]]]) -> dict[str, tuple[int, float]]:
    """Of what broke in several processes, by name, what did so first."""
    found: dict[str, tuple[int, float]] = {}
    for of_one in broken:
        for name, (step, value) in of_one.items():
            if name not in found or step < found[name][0]:
                found[name] = step, value
    return found


def describe_broken(broken: Mapping[str, tuple[int, float]], limit: float | None) -> tuple[str, str, int]:
    """Which losses broke first, what became of them, and at which step, in words for :class:`Diverged`.

    Args:
        broken: by name the step at which it broke, and its value then.
        limit: what losses must not exceed.
    """
    step = min(when for when, _ in broken.values())
    first = {name: value for name, (when, value) in broken.items() if when == step}
    finite = all(math.isfinite(value) for value in first.values())
    how = f"beyond the loss_limit of {limit:g}" if finite else "no longer finite"
    return ", ".join(first), f"{'are' if len(first) > 1 else 'is'} {how}", step


def not_finite(tree: Mapping[str, Any]) -> list[str]:
    """Keys of the tensors in a (nested) state that hold nan or inf. Waits for the device, once."""
    found = [(key, values) for key, values in _tensors(tree) if values.is_floating_point()]
    if not found:
        return []
    flags = torch.stack([torch.isfinite(values).all() for _, values in found]).tolist()
    return [key for (key, _), good in zip(found, flags, strict=True) if not good]


def _tensors(tree: Mapping[Any, Any], prefix: str = "") -> Iterator[tuple[str, Tensor]]:
    for key, value in tree.items():
        if isinstance(value, Tensor):
            yield f"{prefix}{key}", value
        elif isinstance(value, Mapping):
            yield from _tensors(value, f"{prefix}{key}.")
