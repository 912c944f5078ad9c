"""Methods by name."""

from __future__ import annotations

import difflib
import threading
from collections.abc import Iterable, Mapping
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


_PAPERS = {
    "samr": "Guo P, Wang P, Zhou J, Patel VM, Jiang S. Lesion Mask-based Simultaneous Synthesis of Anatomic and "
    "Molecular MR Images using a GAN. MICCAI 2020.",
    "cgsamr": "Guo P, Wang P, Yasarla R, Zhou J, Patel VM, Jiang S. Anatomic and Molecular MR Image Synthesis Using "
    "Confidence Guided CNNs. IEEE Transactions on Medical Imaging 40(10), 2021.",
    "unet": "Ronneberger O, Fischer P, Brox T. U-Net: Convolutional Networks for Biomedical Image Segmentation. MICCAI "
    "2015.",
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


def titles() -> dict[str, str]:
    """What methods are called in tables and figures, by name; those too of which there are published figures alone."""
    return {
        "cgsamr": "CG-SAMR",
        "samr": "SAMR",
        "unet": "U-Net",
        "pix2pix": "pix2pix",
        "pix2pixhd": "pix2pixHD",
        "shin": "Shin et al.",
    }


def papers(names: Iterable[str]) -> list[str]:
    """What methods cite as their paper, in order, each once."""
    found = (getattr(entry(name).method, "paper", _PAPERS.get(name, "")) for name in names)
    return [*dict.fromkeys(one for one in found if one)]
