"""What a run is made from: all that decides its result, and how two runs differ in it."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from lesionlab.errors import InputError
from lesionlab.methods.base import Method
from lesionlab.slices.batches import SliceSource
from lesionlab.training.options import TrainingOptions

SAMPLED = 64  # values of each fresh weight that stand for the whole in a digest
READ = 64  # slices in memory at once
SHOWN = 8  # differences that an error names
DIGITS = 12  # of a digest, enough to tell two apart

_ABSENT = "nothing"


def describe(method: Method) -> dict[str, Any]:
    """A method's name, options and task, JSON-able: enough to build it again."""
    return {
        "method": method.name,
        "options": method.options.model_dump(mode="json"),
        "task": method.task.model_dump(mode="json"),
    }


def identify(method: Method, streams: Mapping[str, SliceSource], options: TrainingOptions) -> dict[str, Any]:
    """All that decides a run's result, JSON-able: method, fresh weights, decisive options and slices.

    Weights enter by a digest over their first values, slices by one over all of theirs: slices on disk are read through
    once, as each epoch does.
    """
    return {
        **describe(method),
        "training": options.decisive(),
        "first_weights": _digest(weights.flatten()[:SAMPLED] for weights in method.state_dict().values()),
        "streams": {
            name: {"count": len(slices), "fields": ", ".join(slices.fields), "content": _digest(_all_of(slices))}
            for name, slices in streams.items()
        },
    }


def _all_of(slices: SliceSource) -> Iterator[Tensor]:
    for places in torch.arange(len(slices)).split(READ):
        yield from slices.take(places).tensors.values()


def _digest(tensors: Iterable[Tensor]) -> str:
    digest = hashlib.sha256()
    for values in tensors:
        digest.update(str(tuple(values.shape)).encode())
        digest.update(values.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()[:DIGITS]


def require_same_run(given: Mapping[str, Any], wanted: Mapping[str, Any], path: Path) -> None:
    """Raise ``InputError``, naming what differs, unless a checkpoint was made from the same as this run.

    Args:
        given: what the checkpoint was made from, see :func:`identify`; empty where it does not say.
        wanted: what this run is made from.
        path: the checkpoint.
    """
    differing = difference(given, wanted)
    if not differing:
        return
    shown, more = differing[:SHOWN], len(differing) - SHOWN
    rest = f", and {more} more" if more > 0 else ""
    raise InputError(
        f"the checkpoint belongs to another run: {', '.join(key for key, _, _ in shown)}{rest} "
        + ("differ" if len(differing) > 1 else "differs"),
        given=", ".join(f"{key} = {value}" for key, value, _ in shown),
        allowed=", ".join(f"{key} = {value}" for key, _, value in shown),
        cure="train in another folder, delete this checkpoint, or restore what it was made from",
        file=path,
    )


def difference(given: Mapping[str, Any], wanted: Mapping[str, Any]) -> list[tuple[str, Any, Any]]:
    """Keys such as ``training.seed`` with the two values, where these differ."""
    one, other = dict(_flat(given)), dict(_flat(wanted))
    keys = [*other, *(key for key in one if key not in other)]
    pairs = ((key, one.get(key, _ABSENT), other.get(key, _ABSENT)) for key in keys)
    return [(key, a, b) for key, a, b in pairs if a != b]


def _flat(tree: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in tree.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value
