"""Methods by name: found by walking this package and the entry points of others, with no list to keep."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
import threading
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from importlib.metadata import entry_points
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from pydantic import BaseModel

from lesionlab.errors import InputError
from lesionlab.methods.base import CAPABILITIES, Method, Task
from lesionlab.names import check_name, suggestion

GROUP = "lesionlab.methods"  # entry points of packages that bring methods of their own
_DESCRIPTION = ("title", "paper", "Options", "streams")

_PAPERS = {
    "samr": "Guo P, Wang P, Zhou J, Patel VM, Jiang S. Lesion Mask-based Simultaneous Synthesis of Anatomic and "
    "Molecular MR Images using a GAN. MICCAI 2020.",
    "cgsamr": "Guo P, Wang P, Yasarla R, Zhou J, Patel VM, Jiang S. Anatomic and Molecular MR Image Synthesis Using "
    "Confidence Guided CNNs. IEEE Transactions on Medical Imaging 40(10), 2021.",
    "unet": "Ronneberger O, Fischer P, Brox T. U-Net: Convolutional Networks for Biomedical Image Segmentation. MICCAI "
    "2015.",
}
_drawing = threading.Lock()  # torch's generator is the process's, and threads may build methods at once


@cache
def methods() -> Mapping[str, type[Method]]:
    """Every method by name, in alphabetical order.

    Raises:
        InputError: a method that lacks a part of its description or has no capability; two methods of one name.
    """
    found: dict[str, type[Method]] = {}
    for module in _modules():
        for thing in vars(module).values():
            if _is_method(thing) and thing.__module__ == module.__name__:
                _require_described(thing)
                _require_new(thing, found)
                found[thing.name] = thing
    return dict(sorted(found.items()))


def with_capability(capability: type) -> dict[str, type[Method]]:
    """Methods that offer a capability, for example ``Synthesizer``, by name."""
    return {name: method for name, method in methods().items() if issubclass(method, capability)}


def titles() -> dict[str, str]:
    """Every method's name in tables and figures."""
    return {name: method.title for name, method in methods().items()}


def papers(names: Iterable[str]) -> list[str]:
    """Citations of methods, each once."""
    return list(dict.fromkeys(methods()[name].paper for name in names))


def find(name: str) -> type[Method]:
    """Look a method up; raises ``InputError`` naming the nearest one for a name that does not exist."""
    if name in methods():
        return methods()[name]
    raise InputError(
        "there is no such method",
        given=name,
        allowed=", ".join(methods()),
        cure=suggestion(name, methods()) or "choose one of these",
    )


def make_method(name: str, options: BaseModel | Mapping[str, Any], task: Task, seed: int = 0) -> Method:
    """Build a method with freshly drawn weights.

    Args:
        name: of the method.
        options: the method's options, as a model or as a mapping (validated here; unknown names raise pydantic's
            ``ValidationError``).
        task: sequences and classes of the data.
        seed: the weights depend on it alone; the caller's random state is left as it was.
    """
    found = find(name)
    given = options if isinstance(options, found.Options) else found.Options.model_validate(dict(options))
    with _drawing, torch.random.fork_rng():
        torch.manual_seed(seed)
        return found(given, task)  # type: ignore[call-arg]


def _modules() -> Iterator[ModuleType]:
    for module in pkgutil.iter_modules([str(Path(__file__).parent)], f"{__package__}."):
        yield importlib.import_module(module.name)
    for point in entry_points(group=GROUP):
        yield importlib.import_module(point.module)


def _is_method(thing: Any) -> bool:
    return inspect.isclass(thing) and issubclass(thing, Method) and not inspect.isabstract(thing)


def _require_described(method: type[Method]) -> None:
    place = f"{method.__module__}.{method.__qualname__}"
    if "name" not in vars(method):
        raise InputError(
            "a method has no name of its own",
            given=place,
            allowed='a class attribute, for example name = "cyclegan"',
            cure="give it one; a class that is only a base leaves a function of Method abstract",
        )
    check_name(method.name, "method")
    if missing := [part for part in _DESCRIPTION if not hasattr(method, part)]:
        raise InputError(
            "a method does not describe itself",
            given=f"{place} without {', '.join(missing)}",
            allowed=f"class attributes {', '.join(_DESCRIPTION)}",
            cure="see docs/add-a-method.md",
        )
    if not any(hasattr(method, function) for function in CAPABILITIES):
        raise InputError(
            "a method has no capability",
            given=place,
            allowed=f"at least one of the functions {', '.join(CAPABILITIES)}",
            cure="add the function that a user of the trained method calls",
        )


def _require_new(method: type[Method], found: Mapping[str, type[Method]]) -> None:
    if method.name in found:
        raise InputError(
            "two methods have one name",
            given=f"{method.name}: {found[method.name].__module__} and {method.__module__}",
            allowed="a name of its own for each",
            cure="rename one of them",
        )
