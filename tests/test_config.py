"""The configuration fails early and by name, and tells the catalog where an experiment's data lives."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import yaml

from lesionlab.config import ConfigurationError, ExperimentConfigLoader, nearest, validate_parameters
from lesionlab.settings import CONFIG_LOADER_ARGS

BASE = Path(__file__).parents[1] / "conf" / "base"


def loader(conf: Path, env: str | None = None, params: dict | None = None) -> ExperimentConfigLoader:
    """The loader as Kedro makes it."""
    return ExperimentConfigLoader(str(conf), env, runtime_params=params, **CONFIG_LOADER_ARGS)


@pytest.fixture
def conf(tmp_path) -> Path:
    """A project's configuration with the repository's base and one experiment, ``small``."""
    shutil.copytree(BASE, tmp_path / "conf" / "base")
    (tmp_path / "conf" / "local").mkdir()
    (tmp_path / "conf" / "small").mkdir()
    return tmp_path / "conf"


def small(conf: Path, values: dict) -> ExperimentConfigLoader:
    (conf / "small" / "parameters.yml").write_text(yaml.safe_dump(values), encoding="utf-8")
    return loader(conf, "small")


def test_a_mistyped_experiment_gives_the_nearest_one(conf):
    with pytest.raises(ConfigurationError, match=r"no experiment 'smal'.*Did you mean 'small'"):
        loader(conf, "smal")


def test_an_experiment_unlike_any_other_lists_them_all(conf):
    with pytest.raises(ConfigurationError) as error:
        loader(conf, "zzz")
    assert "Did you mean" not in error.value.message
    assert "experiments: base, local, small" in error.value.message
    assert "conf/zzz/parameters.yml" in error.value.message


@pytest.mark.parametrize(
    ("params", "path", "meant"),
    [
        ({"cgsmr": {"lambda_cm": 1}}, "cgsmr", "cgsamr"),
        ({"cgsamr": {"training": {"constnt": 3}}}, "cgsamr.training.constnt", "constant"),
        ({"cgsamr": {"weights": {"confidnce": 1}}}, "cgsamr.weights.confidnce", "confidence"),
        ({"trials": {"mine": {"synthesizer": ["samr"]}}}, "trials.mine.synthesizer", "synthesizers"),
        ({"arms": {"mine": {"conventonal": True}}}, "arms.mine.conventonal", "conventional"),
        ({"layouts": {"phantom": {"lesion": {"cods": {1: "edema"}}}}}, "layouts.phantom.lesion.cods", "codes"),
    ],
)
def test_a_mistyped_parameter_gives_the_nearest_one(conf, params, path, meant):
    with pytest.raises(ConfigurationError) as error:
        loader(conf, params=params)["parameters"]
    assert f"{path}: no such parameter. Did you mean '{meant}'?" in error.value.message


def test_a_mistyped_parameter_in_an_experiments_file_gives_the_nearest_one_too(conf):
    with pytest.raises(ConfigurationError, match=r"splits\.tst: no such parameter. Did you mean 'test'"):
        small(conf, {"splits": {"tst": 1}})["parameters"]


def test_a_value_of_another_type_is_named_with_what_was_given(conf):
    with pytest.raises(ConfigurationError, match=r"grid\.in_plane_mm = 'wide': Input should be a valid number"):
        loader(conf, params={"grid": {"in_plane_mm": "wide"}})["parameters"]


def test_every_fault_is_told_at_once(conf):
    with pytest.raises(ConfigurationError) as error:
        loader(conf, params={"sed": 1, "seed": "x", "run": {"workers": -1}})["parameters"]
    faults = [line for line in error.value.message.splitlines() if line.startswith("  - ")]
    assert [fault.split()[1].rstrip(":") for fault in faults] == ["seed", "run.workers", "sed"]


def test_what_is_required_and_not_given_is_named_without_the_whole_tree(conf):
    values = loader(conf)["parameters"]
    del values["cohort"]["layout"]
    with pytest.raises(ConfigurationError) as error:
        validate_parameters(values)
    assert error.value.message.splitlines()[1] == "  - cohort.layout is not given. It is required"


def test_the_message_is_what_the_command_line_shows(conf, capsys):
    with pytest.raises(ConfigurationError) as error:
        loader(conf, "bas")
    error.value.show()
    shown = capsys.readouterr().err
    assert "Did you mean 'base'?" in shown and "None" not in shown and "Traceback" not in shown
    assert error.value.exit_code == 1


def test_an_experiment_says_only_what_differs(conf):
    base = loader(conf)["parameters"]
    merged = small(conf, {"splits": {"test": 2}, "cgsamr": {"generator": {"width": 3}}})["parameters"]
    assert merged["splits"] == {**base["splits"], "test": 2}
    assert merged["cgsamr"]["generator"] == {**base["cgsamr"]["generator"], "width": 3}
    assert merged["cgsamr"]["unet"] == base["cgsamr"]["unet"]


def test_the_command_lines_values_are_laid_over_the_experiments(conf):
    (conf / "small" / "parameters.yml").write_text("splits: {test: 2, strata: 7}\n", encoding="utf-8")
    given = loader(conf, "small", {"splits": {"test": 1}})["parameters"]
    assert (given["splits"]["test"], given["splits"]["strata"]) == (1, 7)


@pytest.mark.parametrize(
    ("values", "workspace"),
    [({}, "data/experiments/small"), ({"workspace": "other"}, "data/experiments/other")],
)
def test_an_experiment_has_a_folder_of_its_own(conf, values, workspace):
    made = small(conf, values)
    assert made["globals"]["workspace"] == made["globals"]["results"] == workspace


@pytest.mark.parametrize("env", [None, "base", "local"])
def test_the_default_lives_in_data_itself(conf, env):
    made = loader(conf, env)
    assert (made["globals"]["workspace"], made["globals"]["results"]) == ("data", "data")


@pytest.mark.parametrize("protocol", ["leave_one_out", "folds"])
def test_a_fold_has_a_folder_within_the_experiments(conf, protocol):
    splits = {"protocol": protocol, "fold": 2}
    made = small(conf, {"splits": splits})
    assert made["globals"]["workspace"] == "data/experiments/small"
    assert made["globals"]["results"] == "data/experiments/small/fold2"
    chosen = loader(conf, "small", {"splits": {"fold": 1}})
    assert chosen["globals"]["results"] == "data/experiments/small/fold1"
    assert chosen["catalog"]["coregistered"]["filepath"] == "data/experiments/small/03_primary/coregister"
    assert chosen["catalog"]["slices"]["filepath"] == "data/experiments/small/fold1/04_feature/slices"
    report = chosen["catalog"]["{trial}.report"]["filepath"]
    assert report == "data/experiments/small/fold1/08_reporting/{trial}/report.html"


def test_nearest():
    assert nearest("decy", ["constant", "decay"]) == "Did you mean 'decay'?"
    assert nearest("q", ["b", "a"]) == "Allowed: a, b"
