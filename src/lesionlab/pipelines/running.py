"""How stages run: workers, failures, and the code that a stage's results depend on."""

from __future__ import annotations

import ast
import inspect
import textwrap
from collections.abc import Callable, Iterator, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import lesionlab
from lesionlab.parameters import RunOptions
from lesionlab.stages.code import code_of, what_runs
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
