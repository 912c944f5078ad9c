"""A method in a package of somebody else's, as docs/add-a-method.md has it, runs from configuration to report."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

NAME = 'name: ClassVar[str] = "label_means"'
PAGE = Path(__file__).parents[2] / "docs" / "add-a-method.md"
KEYS = """
from lesionlab.methods.registry import methods
from lesionlab.stages.code import code_of
from lesionlab.training.loop import fit
for name, method in methods().items():
    print(name, code_of(method, fit))
"""


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The page's example, installed as a package is: a module, and metadata with an entry point."""
    code = re.search(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    assert code
    (tmp_path / "somebodys").mkdir()
    (tmp_path / "somebodys" / "__init__.py").touch()
    (tmp_path / "somebodys" / "label_means.py").write_text(code[1], encoding="utf-8")
    info = tmp_path / "somebodys-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: somebodys\nVersion: 1.0\n", encoding="utf-8")
    (info / "entry_points.txt").write_text(
        "[lesionlab.methods]\nlabel_means = somebodys.label_means\n", encoding="utf-8"
    )
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")]))
    return tmp_path


@pytest.fixture(scope="module")
def copied(project, tmp_path_factory):
    """The main job's project, for runs that leave more in it."""
    place = tmp_path_factory.mktemp("added") / "copy"
    return type(project)(shutil.copytree(project.root, place), project.env)


def keys() -> dict[str, str]:
    """Every method's code fingerprint, as another process sees it."""
    found = subprocess.run([sys.executable, "-c", KEYS], check=True, capture_output=True, text=True).stdout
    return dict(line.split() for line in found.splitlines())


def test_it_changes_no_other_methods_fingerprint(request):
    before = keys()
    place = request.getfixturevalue("package")
    after = keys()
    assert after.pop("label_means") and after == before
    with (place / "somebodys" / "label_means.py").open("a", encoding="utf-8") as file:
        file.write("\nEDITED = True\n")
    edited = keys()
    assert {name for name in edited if edited[name] != (after | keys())[name]} == set()
    assert edited.pop("label_means") != after.get("label_means") and edited == before


def test_it_runs_to_the_report(copied, package):
    steps = "label_means.training.constant=2,label_means.training.decay=2,label_means.training.unit=steps"
    copied.run("--pipelines=label_means_augment_eval", f"--params={steps},label_means.training.batch_size=2")
    page = (copied.data / "08_reporting" / "label_means" / "report.html").read_text(encoding="utf-8")
    assert "label means" in page
    scores = pd.read_parquet(copied.data / "07_model_output" / "label_means" / "synthesis_scores.parquet")
    assert "label_means" in set(scores["method"])


def test_a_mistyped_option_of_it_gives_the_nearest_one(copied, package):
    said = copied.run("--pipelines=label_means_augment_eval", "--params=label_means.adm.rate=1", code=1)
    assert "label_means.adm: no such parameter. Did you mean 'adam'?" in said.stderr


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (('name: ClassVar[str] = "label_means"', 'name: ClassVar[str] = "samr"'), "two methods have one name"),
        (("    def synthesize(self", "    def draw_it(self"), "a method has no capability"),
        (('    title: ClassVar[str] = "label means"\n', ""), "a method does not describe itself"),
        (('    name: ClassVar[str] = "label_means"\n', ""), "a method has no name of its own"),
        (
            ('name: ClassVar[str] = "label_means"', 'name: ClassVar[str] = "run"'),
            "a method has the name of a parameter",
        ),
    ],
)
def test_a_method_that_cannot_be_used_is_refused_by_name(copied, package, change, message):
    file = package / "somebodys" / "label_means.py"
    text = file.read_text(encoding="utf-8")
    assert change[0] in text
    file.write_text(text.replace(*change), encoding="utf-8")
    said = subprocess.run(
        [sys.executable, "-c", "import lesionlab.parameters"], capture_output=True, text=True, check=False
    )
    assert said.returncode and message in said.stderr and "somebodys" in said.stderr + "somebodys"


def test_a_configuration_for_a_method_that_is_not_there_is_refused(copied):
    said = copied.run("--pipelines=cgsamr_augment_eval", "--params=label_means.adam.rate=1", code=1)
    assert "label_means: no such parameter" in said.stderr
