"""Checkpoints: complete or absent on disk, loaded without executing code, refused where they do not fit."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from lesionlab.data.batches import Slices
from lesionlab.errors import InputError
from lesionlab.methods.base import Method, Task
from lesionlab.methods.registry import make_method
from lesionlab.training.options import TrainingOptions

FORMAT = 1
SAMPLED = 64  # slices, and values of each weight, that stand for the whole in a fingerprint


def save(content: dict[str, Any], path: Path) -> None:
    """Write a checkpoint aside, then rename it: ``path`` holds the old one or the new one, never a part."""
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(path.name + ".partial")
    torch.save(content, aside)
    aside.replace(path)


def load(path: Path) -> dict[str, Any]:
    """Read a checkpoint; raises ``InputError`` where it is missing, truncated, or of another kind."""
    if not path.is_file():
        raise refusal("the checkpoint is missing", "no such file", path, "train the method first, or mend the path")
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises half a dozen kinds for damaged archives
        reason = f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else 'no message'}"
        raise refusal("the checkpoint cannot be read", reason, path, "delete it and train again") from error
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise refusal(
            "this is no checkpoint of lesionlab", type(content).__name__, path, "give a file that training wrote"
        )
    return content


def refusal(what: str, given: object, path: Path, cure: str) -> InputError:
    """The error for a checkpoint that cannot be used."""
    return InputError(what, given=given, allowed=f"a lesionlab checkpoint of format {FORMAT}", cure=cure, file=path)


def describe(method: Method) -> dict[str, Any]:
    """A method's name, options and task, JSON-able: enough to build it again."""
    return {
        "method": method.name,
        "options": method.options.model_dump(mode="json"),
        "task": method.task.model_dump(mode="json"),
    }


def contents(method: Method) -> dict[str, Any]:
    """What every checkpoint holds: the description and the weights."""
    return {"format": FORMAT, **describe(method), "weights": method.state_dict()}


def save_method(method: Method, path: Path) -> None:
    """Keep a trained method for inference: description and weights, no training state."""
    save(contents(method), path)


def load_method(path: str | Path, device: torch.device | str = "cpu") -> Method:
    """Build the method of a checkpoint, with its weights, in evaluation mode.

    Needs nothing but the file: name, options and task lie in it. Raises ``InputError`` for a file that is
    missing, damaged, or whose weights do not fit.
    """
    path = Path(path)
    content = load(path)
    try:
        method = make_method(content["method"], content["options"], Task.model_validate(content["task"]))
        method.load_state_dict(content["weights"])
    except (KeyError, RuntimeError, ValueError) as error:
        raise refusal("the checkpoint does not fit this version", error, path, "train the method again") from error
    return method.to(device).eval()


def fingerprint(method: Method, slices: Slices, options: TrainingOptions) -> str:
    """Hex digest of all that decides a run's result: method, fresh weights, decisive options and slices.

    Weights and slices enter by a sample of their values, so that large sets cost no minutes.
    """
    digest = hashlib.sha256(json.dumps({**describe(method), "training": options.decisive()}, sort_keys=True).encode())
    for weights in method.state_dict().values():
        _absorb(digest, weights.flatten()[:SAMPLED])
    places = torch.linspace(0, len(slices) - 1, min(SAMPLED, len(slices))).long()
    digest.update(str(len(slices)).encode())
    for part in slices.take(places):
        _absorb(digest, part)
    return digest.hexdigest()


def _absorb(digest: hashlib._Hash, values: Tensor) -> None:
    digest.update(str(tuple(values.shape)).encode())
    digest.update(values.detach().cpu().contiguous().numpy().tobytes())


def require_same_run(content: dict[str, Any], wanted: str, path: Path) -> None:
    """Raise ``InputError`` unless a checkpoint belongs to the run with this fingerprint."""
    given = content.get("training", {}).get("fingerprint", "none")
    if given != wanted:
        raise InputError(
            "the checkpoint belongs to another run: its options, data or seed differ",
            given=f"fingerprint {given[:12]}",
            allowed=f"fingerprint {wanted[:12]}",
            cure="train in another folder, delete this checkpoint, or restore the options it was made with",
            file=path,
        )
