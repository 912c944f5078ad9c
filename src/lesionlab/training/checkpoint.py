"""Checkpoints: complete or absent on disk, loaded without executing code, refused where they do not fit."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from lesionlab.errors import InputError
from lesionlab.methods.base import Method, Task
from lesionlab.methods.registry import make_method
from lesionlab.training.files import write_whole
from lesionlab.training.identity import describe

FORMAT = 1


def save(content: dict[str, Any], path: Path) -> None:
    """Write a checkpoint, whole or not at all; raises ``InputError`` where the disk is full."""
    write_whole(path, lambda file: torch.save(content, file))


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


def contents(method: Method) -> dict[str, Any]:
    """What every checkpoint holds: the description and the weights."""
    return {"format": FORMAT, **describe(method), "weights": method.state_dict()}


def save_method(method: Method, path: Path, **more: Any) -> None:
    """Keep a trained method for inference: description and weights, no training state, and what else is given."""
    save({**contents(method), **more}, path)


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


def settle_best(coming: Path, kept: Path, step: int) -> None:
    """Let a new best weights' file take the place of the old one, if it is of this step; else remove it.

    A run goes on from its last checkpoint. A best of later steps would be of weights that it may never have again, for
    not every device repeats itself; so a new one waits beside the old until the checkpoint names it.

    Args:
        coming: where the new one was written, with ``best`` beside its weights; nothing is done where it is absent.
        kept: where the best lies.
        step: of the best that the checkpoint names.
    """
    if not coming.exists():
        return
    if load(coming)["best"]["step"] == step:
        coming.replace(kept)
    else:
        coming.unlink()
