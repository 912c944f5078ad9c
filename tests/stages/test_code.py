"""Which code a result depends on."""

from __future__ import annotations

import ast
import sys
from pathlib import Path

import pytest

import lesionlab
from lesionlab.imaging import grid
from lesionlab.imaging.intensity import bias
from lesionlab.methods.cgsamr import CGSAMR
from lesionlab.methods.unet import UNetSegmenter
from lesionlab.stages import code

SOURCES = Path(lesionlab.__file__).parent


@pytest.fixture
def edit(monkeypatch):
    """Makes as if a module had been edited."""
    real = code._source

    def change(name: str) -> None:
        monkeypatch.setattr(code, "_source", lambda module: real(module) + "\nedited = True" * (module == name))

    return change


@pytest.mark.parametrize(
    "module",
    [
        "lesionlab.methods.cgsamr",
        "lesionlab.methods.base",  # imported
        "lesionlab.losses.confidence",
        "lesionlab.networks.blocks",  # imported by what is imported
    ],
)
def test_the_code_of_a_method_is_all_it_imports(edit, module):
    before = code.code_of(CGSAMR)
    assert code.code_of(CGSAMR) == before
    edit(module)
    assert code.code_of(CGSAMR) != before


@pytest.mark.parametrize(
    ("thing", "module"),
    [
        (UNetSegmenter, "lesionlab.losses.confidence"),
        (UNetSegmenter, "lesionlab.methods.cgsamr"),
        (bias.correct_study, "lesionlab.imaging.anatomy.atlas"),
        (CGSAMR, "lesionlab.reporting.report"),
    ],
)
def test_other_code_costs_no_result(edit, thing, module):
    before = code.code_of(thing)
    edit(module)
    assert code.code_of(thing) == before


def test_a_word_about_the_code_costs_no_result():
    plain = "def area(side):\n    return side * side\n"
    told = '''
"""Squares."""
def area(side):  # of one
    """Its area."""

    return (side
            * side)
'''
    assert code.what_runs(plain) == code.what_runs(told) == "def area(side):\n    return side * side"
    assert code.what_runs(plain) != code.what_runs(plain.replace("side * side", "side + side"))
    assert code.what_runs('class Gone(Exception):\n    """Nothing is left."""') == "class Gone(Exception):\n    pass"


def test_several_things_have_the_code_of_all(edit):
    both = code.code_of(bias.correct_study, grid.make_grid)
    assert both == code.code_of(grid.make_grid, bias.correct_study)
    assert both not in (code.code_of(bias.correct_study), code.code_of(grid.make_grid))


def test_our_modules_are_imported_by_name_only():
    # Imports are followed in the form ``from lesionlab.room import name``; any other would be overlooked.
    other = []
    for path in SOURCES.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                other += [(path.name, alias.name) for alias in node.names if alias.name.startswith("lesionlab.")]
            if isinstance(node, ast.ImportFrom) and node.level:
                other.append((path.name, "relative"))
    assert other == []


def test_a_method_of_another_package_counts_its_own_modules_and_ours(tmp_path, monkeypatch, edit):
    package = tmp_path / "elsewhere_methods"
    package.mkdir()
    for name, text in {
        "__init__": "",
        "blocks": "SIZE = 3\n",
        "mine": "from .blocks import SIZE\nfrom lesionlab.networks.unet import UNet\n\n\nclass Mine: ...\n",
    }.items():
        (package / f"{name}.py").write_text(text)
    monkeypatch.syspath_prepend(tmp_path)
    from elsewhere_methods.mine import Mine

    try:
        modules = code._closure(Mine.__module__)
        own = {"elsewhere_methods", "elsewhere_methods.mine", "elsewhere_methods.blocks"}
        assert (
            own - {"elsewhere_methods"} <= modules
            and {"lesionlab.networks.unet", "lesionlab.networks.blocks"} <= modules
        )
        before = code.code_of(Mine)
        edit("elsewhere_methods.blocks")
        assert code.code_of(Mine) != before
    finally:
        for name in [name for name in sys.modules if name.startswith("elsewhere_methods")]:
            del sys.modules[name]
