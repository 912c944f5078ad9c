"""Methods by name."""

from __future__ import annotations

import difflib
import threading
from collections.abc import Mapping
from typing import Any, NamedTuple

import torch
from pydantic import BaseModel

from lesionlab.errors import InputError
from lesionlab.methods.base import Method, Task
from lesionlab.methods.cgsamr import CGSAMR, CGSAMROptions
from lesionlab.methods.samr import SAMR, SAMROptions
from lesionlab.methods.unet import UNetOptions, UNetSegmenter


class Entry(NamedTuple):
    """A method's class and the model of its options."""

    method: type[Method]
    options: type[BaseModel]


METHODS: dict[str, Entry] = {
    "cgsamr": Entry(CGSAMR, CGSAMROptions),
    "samr": Entry(SAMR, SAMROptions),
    "unet": Entry(UNetSegmenter, UNetOptions),
}


_drawing = threading.Lock()  # torch's generator is the process's, and threads may build methods at once


def entry(name: str) -> Entry:
    """Look a method up; raises ``InputError`` naming the nearest one for a name that does not exist."""
    if name in METHODS:
        return METHODS[name]
    near = difflib.get_close_matches(name, METHODS, n=1)
    raise InputError(
        "there is no such method",
        given=name,
        allowed=", ".join(sorted(METHODS)),
        cure=f"write {near[0]}" if near else "choose one of these",
    )


def make_method(name: str, options: BaseModel | Mapping[str, Any], task: Task, seed: int = 0) -> Method:
    """Build a method with freshly drawn weights.

    Args:
        name: a key of ``METHODS``.
        options: the method's options, as a model or as a mapping (validated here; unknown names raise pydantic's
            ``ValidationError``).
        task: sequences and classes of the data.
        seed: the weights depend on it alone; the caller's random state is left as it was.
    """
    found = entry(name)
    given = options if isinstance(options, found.options) else found.options.model_validate(dict(options))
    with _drawing, torch.random.fork_rng():
        torch.manual_seed(seed)
        return found.method(given, task)  # type: ignore[call-arg]
