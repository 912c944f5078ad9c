"""Which code a result depends on: the sources of a module and of everything of its own package that it imports."""

from __future__ import annotations

import ast
import importlib.util
import textwrap
from collections.abc import Collection, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import lesionlab
from lesionlab.stages.fingerprints import fingerprint_of


def code_of(*things: Any) -> str:
    """A fingerprint of the modules that define these functions or classes, and of all they import of ours or their own.

    Their own: a method may come from another package, whose modules count as ours do.
    """
    return fingerprint_of({module: what_runs(_source(module)) for module in modules_of(*things)})


def modules_of(*things: Any) -> set[str]:
    """The modules that :func:`code_of` looks at."""
    return {module for thing in things for module in _closure(thing.__module__)}


@cache
def what_runs(source: str) -> str:
    """A source without comments, docstrings and layout: a word about the code is no reason to train anew."""
    tree = ast.parse(textwrap.dedent(source))
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef) and ast.get_docstring(node) is not None:
            node.body = node.body[1:] or [ast.Pass()]
    return ast.unparse(tree)


@cache
def _closure(module: str) -> frozenset[str]:
    """A module and every module of lesionlab, or of its own top-level package, that it imports, directly or not."""
    packages = {lesionlab.__name__, module.partition(".")[0]}
    found: set[str] = set()
    left = [module]
    while left:
        name = left.pop()
        if name not in found:
            found.add(name)
            left.extend(_imports(name, packages))
    return frozenset(found)


def _imports(module: str, packages: Collection[str]) -> Iterator[str]:
    for node in ast.walk(ast.parse(_source(module))):
        if not isinstance(node, ast.ImportFrom):
            continue
        origin = importlib.util.resolve_name("." * node.level + (node.module or ""), _package(module))
        if origin.partition(".")[0] in packages:
            # ``from package import name`` may mean a module of that package.
            inner = [f"{origin}.{alias.name}" for alias in node.names]
            yield from [origin, *(name for name in inner if _is_module(name))]


def _package(module: str) -> str:
    """What relative imports of a module are relative to."""
    spec = importlib.util.find_spec(module)
    return (spec.parent if spec else None) or module


@cache
def _is_module(name: str) -> bool:
    parent = importlib.util.find_spec(name.rpartition(".")[0])
    return parent is not None and parent.submodule_search_locations is not None and bool(importlib.util.find_spec(name))


@cache
def _source(module: str) -> str:
    spec = importlib.util.find_spec(module)
    assert spec is not None and spec.origin is not None
    return Path(spec.origin).read_text(encoding="utf-8")
