"""One typed tree holds every parameter, and every experiment in the repository fits it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from lesionlab.config import ConfigurationError, ExperimentConfigLoader, validate_parameters
from lesionlab.data.engine import Engine
from lesionlab.data.layout import find_layout
from lesionlab.imaging.phantom import SEQUENCES
from lesionlab.parameters import Parameters, RunOptions, known_names
from lesionlab.settings import CONFIG_LOADER_ARGS

CONF = Path(__file__).parents[1] / "conf"
# conf/local is the user's own and no part of the repository.
EXPERIMENTS = sorted(folder.name for folder in CONF.iterdir() if folder.is_dir() and folder.name != "local")


def of(env: str, conf: Path = CONF) -> Parameters:
    return Parameters.model_validate(ExperimentConfigLoader(str(conf), env, **CONFIG_LOADER_ARGS)["parameters"])


def may_lack(*names: str, fallback: Sequence[str] = ()) -> dict[str, Any]:
    cohort = {"name": "phantom", "source": "phantom", "layout": "phantom", "may_lack": names}
    return {"cohort": cohort, "coregister": {"reference_fallback": fallback}}


@pytest.mark.parametrize("env", EXPERIMENTS)
def test_every_experiment_fits_the_tree(env):
    parameters = of(env)
    layout = find_layout(parameters.layouts, parameters.cohort.layout)
    assert set(parameters.sequences) <= set(layout.sequences)
    assert parameters.reference in parameters.sequences
    if layout.lesion:
        assert set(layout.lesion.codes.values()) <= set(parameters.lesion_classes)
    if parameters.cohort.source == "phantom":
        assert set(parameters.sequences) <= set(parameters.phantom.sequences)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"reference": "APTw", "sequences": ["T1w", "FLAIR"]}, "reference 'APTw' is none of the sequences"),
        ({"phantom": {"sequences": ["T1w"]}}, "the phantom has no APTw, FLAIR, T1ce, T2w: add them"),
        ({"reference": "FLAIR"}, "reference 'FLAIR' is not phantom.reference 'T1w'"),
        (may_lack("T2"), "cohort.may_lack names T2, none of the sequences"),
        (may_lack(*SEQUENCES), "cohort.may_lack names every sequence"),
        (may_lack("FLAIR", "T1w"), "cohort.may_lack names the reference 'T1w', and nothing takes its place"),
        (may_lack("T1w", fallback=["T1w", "PD"]), "cohort.may_lack names the reference 'T1w', and nothing"),
    ],
)
def test_what_does_not_fit_together_is_refused_at_once(change, message):
    values = ExperimentConfigLoader(str(CONF), "base", **CONFIG_LOADER_ARGS)["parameters"]
    with pytest.raises(ConfigurationError) as error:
        validate_parameters(values | change)
    assert f"  - {message}" in error.value.message and len(error.value.message) < 400  # not the whole tree


def test_sequences_that_studies_may_lack():
    values = ExperimentConfigLoader(str(CONF), "base", **CONFIG_LOADER_ARGS)["parameters"]
    assert Parameters.model_validate(values).cohort.may_lack == []
    told = Parameters.model_validate(values | may_lack("FLAIR", "T1w", fallback=["PD", "T1ce"]))
    assert told.cohort.may_lack == ["FLAIR", "T1w"]


@pytest.mark.parametrize("env", EXPERIMENTS)
def test_every_experiment_opens_with_what_a_reader_needs(env):
    text = (CONF / env / "parameters.yml").read_text(encoding="utf-8")
    head = text.split("\n\n")[0] + text.split("\n\n")[1]
    assert [word for word in ("paper", "command", "time", "published", "departures") if f"# {word} " not in head] == []


def test_the_default_is_the_embedded_phantom():
    parameters = of("base")
    assert parameters.cohort.source == "phantom" and parameters.phantom.subjects == 24
    assert parameters.sequences == list(SEQUENCES)
    assert parameters.lesion_classes == ["edema", "cavity", "tumor"]
    # The papers' 25 % and 50 % of all training slices are half as many synthetic ones as real ones, and as many.
    ratios = {name: arm.synthetic for name, arm in parameters.arms.items()}
    assert (ratios["real"], ratios["real+25%"], ratios["real+50%"]) == (0, 0.5, 1.0)
    assert parameters.trials["cgsamr"].arms == ("real", "real+25%", "real+50%")


def test_the_published_figures_are_the_papers():
    published = of("base").published
    # CG-SAMR's Table I: 2 methods x 5 sequences x (3 classes + SSIM + PSNR), Table V: 6 x 5 accuracies and 5 x 3 Dice,
    # Table II: 3 + 2 methods x 2 shares x 3 classes.
    assert len(published) == 2 * 25 + 6 * 5 + 5 * 3 + (3 + 2 * 2 * 3)
    best = {
        score.synthesizer: score.value
        for score in published
        if (score.protocol, score.metric, score.lesion_class) == ("real+50%", "dice", "tumor")
    }
    assert (best["cgsamr"], best["samr"], best["without_atlas"]) == (0.835, 0.813, 0.705)


def test_samrs_own_experiment_has_samrs_own_figures():
    # Table 2: 7 rows (3 shares, 4 ablations) of 4 measures x 3 classes.
    published = of("samr_jhu").published
    assert len(published) == 7 * 12
    best = {(one.synthesizer, one.metric): one.value for one in published if one.lesion_class == "tumor"}
    assert (best["samr", "hd95"], best["without_atlas", "dice"]) == (4.735, 0.679)
    assert {variant.of for name, variant in of("samr_jhu").variants.items() if name != "without_confidence"} == {"samr"}


def test_every_published_figure_finds_its_line_once():
    parameters = of("base")
    lines = [
        (score.method, score.protocol, score.synthesizer, score.sequence, score.lesion_class, score.metric)
        for score in parameters.published
    ]
    assert len(lines) == len(set(lines))
    known = set(parameters.recipes())
    assert {method for method, *_ in lines} <= known | {"unet"}
    assert {protocol for _, protocol, *_ in lines} <= set(parameters.arms) | {"paired"}
    assert {synthesizer for _, _, synthesizer, *_ in lines} <= known | {"none"}
    for _, protocol, synthesizer, *_ in lines:
        drawn = protocol in parameters.arms and parameters.arms[protocol].synthetic > 0
        assert (synthesizer != "none") == drawn


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ((), "cgsamr_training"),
        (("cgsamr",), "generator"),
        (("cgsamr", "weights"), "feature_matching"),
        (("augmentation", "manipulation"), "enlarge_factor"),
        (("trials", "mine"), "training_subjects"),
        (("arms", "mine"), "synthetic"),
        (("variants", "mine"), "change"),
        (("layouts", "whatever"), "brain_mask"),
        (("layouts", "whatever", "lesion"), "drawn_on"),  # a model or None
        (("published", 3), "class"),  # by the name the file says, not by the attribute's
    ],
)
def test_known_names(path, name):
    assert name in known_names(path)


@pytest.mark.parametrize("path", [("seed",), ("variants", "any", "change"), ("sequences", 0), ("nothing", "here")])
def test_where_no_names_are_fixed_none_is_known(path):
    assert known_names(path) == []


def test_workers():
    assert RunOptions(workers=3).processes == 3
    assert RunOptions().processes >= 1
    with pytest.raises(ValidationError):
        RunOptions(workers=-1)


def test_the_engine_is_what_the_run_says():
    assert RunOptions(workers=3, memory_gb=2).engine == Engine(3, None, 2.0)
    assert RunOptions(workers=1, scheduler="tcp://host:8786").engine == Engine(1, "tcp://host:8786", None)
    assert RunOptions(workers=3, scheduler="tcp://host:8786", memory_gb=2).alone.engine == Engine(1)
    for wrong in ({"memory_gb": 0}, {"wait_minutes": -1}):
        with pytest.raises(ValidationError):
            RunOptions(**wrong)
