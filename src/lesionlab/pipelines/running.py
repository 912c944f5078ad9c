"""How nodes run: workers, failures, and which code a result depends on."""

from __future__ import annotations

import ast
import importlib.util
import inspect
import textwrap
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

import lesionlab
from lesionlab.parameters import RunOptions
from lesionlab.stages.fingerprints import fingerprint_of
from lesionlab.stages.plan import Link, parameters_of
from lesionlab.stages.stage import Judge, code_of_stage, run_stage
from lesionlab.stages.subject_store import StudyResult, SubjectStore

_PIPELINES = f"{lesionlab.__name__}.pipelines."
_LIBRARIES = ("antspyx", "SimpleITK", "deepbet", "scipy")  # those whose results stages keep


def run(
    root: Path,
    jobs: Mapping[str, Any],
    work: Callable[[Any], StudyResult],
    science: Sequence[Callable[..., Any]],
    fingerprints: Mapping[str, str],
    options: object,
    run_options: RunOptions,
    seed: int = 0,
    judge: Judge | None = None,
) -> SubjectStore:
    """Run a stage over its studies (see :func:`lesionlab.stages.stage.run_stage`).

    Args:
        root: the stage's folder.
        jobs: study to what ``work`` takes.
        work: what the stage does to one study.
        science: the functions behind it; when their code, or a library's version, changes, studies are computed anew.
        fingerprints: study to a fingerprint of its inputs.
        options: the stage's options.
        run_options: workers, how long to wait for another run, and whether failures are allowed.
        seed: of the random numbers drawn.
        judge: says of a study's measures why it is to be held back.
    """
    return run_stage(
        root,
        jobs,
        work,
        fingerprints=fingerprints,
        options=options,
        code=stage_code(work, science),
        engine=run_options.engine,
        wait_minutes=run_options.wait_minutes,
        allow_failures=run_options.allow_failures,
        seed=seed,
        judge=judge,
    )


def link(
    root: Path,
    work: Callable[[Any], StudyResult],
    science: Sequence[Callable[..., Any]],
    inputs: Callable[[Mapping[str, Mapping[str, str]]], Mapping[str, str]],
    options: object,
    seed: int = 0,
) -> Link:
    """A stage as :func:`lesionlab.stages.plan.plan_chain` plans it; what is given here is what :func:`run` gets.

    Args:
        root: the stage's folder, by whose name the links after it refer to it.
        work: what the stage does to one study.
        science: the functions behind it.
        inputs: takes the keys of the stages before, gives study to a fingerprint of its inputs.
        options: the stage's options.
        seed: of the random numbers drawn.
    """
    return Link(root.name, root, inputs, parameters_of(options, seed), code_of_stage(stage_code(work, science)))


def stage_code(work: Callable[[Any], StudyResult], science: Sequence[Callable[..., Any]]) -> str:
    """A fingerprint of what a stage does: the function itself, the code behind it, and the libraries' versions."""
    return fingerprint_of(_sources_beside(work), code_of(*science), {name: version(name) for name in _LIBRARIES})


def _sources_beside(work: Callable[[Any], StudyResult]) -> dict[str, str]:
    """The source of a stage's function, of its job, and of whatever of our pipelines' code these name in turn."""
    found: dict[str, str] = {}
    left: list[Any] = [inspect.unwrap(work)]
    while left:
        thing = left.pop()
        name = f"{thing.__module__}.{thing.__qualname__}"
        if name not in found:
            source = inspect.getsource(thing)
            found[name] = what_runs(source)
            left.extend(_named_by(thing, source))
    return found


def _named_by(thing: Any, source: str) -> Iterator[Any]:
    """The functions and classes of our pipelines that a source names, as its module knows them."""
    known = vars(inspect.getmodule(thing))
    names = {node.id for node in ast.walk(ast.parse(textwrap.dedent(source))) if isinstance(node, ast.Name)}
    for name in sorted(names):
        found = known.get(name)
        if (inspect.isfunction(found) or inspect.isclass(found)) and found.__module__.startswith(_PIPELINES):
            yield found


def code_of(*things: Any) -> str:
    """A fingerprint of the modules that define these functions or classes, and of all of ours that they import."""
    modules = {module for thing in things for module in _closure(thing.__module__)}
    return fingerprint_of({module: what_runs(_source(module)) for module in modules})


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
    """A module of ours and every module of ours that it imports, directly or not."""
    found: set[str] = set()
    left = [module]
    while left:
        name = left.pop()
        if name not in found:
            found.add(name)
            left.extend(_imports(name))
    return frozenset(found)


def _imports(module: str) -> Iterator[str]:
    ours = lesionlab.__name__ + "."
    for node in ast.walk(ast.parse(_source(module))):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith(ours):
            # ``from package import name`` may mean a module of that package.
            inner = [f"{node.module}.{alias.name}" for alias in node.names]
            yield from [node.module, *(name for name in inner if _is_module(name))]


@cache
def _is_module(name: str) -> bool:
    parent = importlib.util.find_spec(name.rpartition(".")[0])
    return parent is not None and parent.submodule_search_locations is not None and bool(importlib.util.find_spec(name))


@cache
def _source(module: str) -> str:
    spec = importlib.util.find_spec(module)
    assert spec is not None and spec.origin is not None
    return Path(spec.origin).read_text(encoding="utf-8")
