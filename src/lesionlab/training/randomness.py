"""The state of every random generator that a training run draws from."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch


def seed_everything(seed: int) -> None:
    """Seed Python, NumPy and torch (all devices)."""
    random.seed(seed)
    np.random.seed(seed % 2**32)
    torch.manual_seed(seed)


def seed_of(seed: int, rank: int, step: int = 0) -> int:
    """A seed for each process of a run, from a step on; the first process begins with the run's own."""
    if not rank and not step:
        return seed
    return int(np.random.SeedSequence([seed, rank, step]).generate_state(1)[0])


def random_state() -> dict[str, Any]:
    """The state of all generators, as numbers, strings, tuples and tensors (loadable without executing code)."""
    kind, keys, position, has_gauss, gauss = np.random.get_state()
    return {
        "python": random.getstate(),
        "numpy": (
            str(kind),
            torch.from_numpy(np.asarray(keys, dtype=np.int64)),
            int(position),
            int(has_gauss),
            float(gauss),
        ),
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
    }


def set_random_state(state: dict[str, Any]) -> None:
    """Go on from a state that :func:`random_state` gave."""
    kind, keys, position, has_gauss, gauss = state["numpy"]
    random.setstate(state["python"])
    np.random.set_state((kind, keys.numpy().astype(np.uint32), position, has_gauss, gauss))
    torch.set_rng_state(state["torch"])
    if torch.cuda.is_available() and len(state["cuda"]) == torch.cuda.device_count():
        torch.cuda.set_rng_state_all(state["cuda"])


@contextmanager
def undisturbed() -> Iterator[None]:
    """Whatever is drawn inside the block, the generators go on afterwards as if it had not run."""
    before = random_state()
    try:
        yield
    finally:
        set_random_state(before)


@contextmanager
def own_randomness(seed: int) -> Iterator[None]:
    """Seed everything inside the block; outside, the generators go on as if it had not run."""
    with undisturbed():
        seed_everything(seed)
        yield
