"""One typed tree holds every parameter, and every experiment in the repository fits it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from lesionlab.cohort.layout import find_layout
from lesionlab.config import ConfigurationError, ExperimentConfigLoader, validate_parameters
from lesionlab.errors import InputError
from lesionlab.imaging.phantom import SEQUENCES
from lesionlab.methods.registry import find
from lesionlab.parameters import Parameters, RunOptions, known_names, merged
from lesionlab.settings import CONFIG_LOADER_ARGS
from lesionlab.stages.engine import Engine

CONF = Path(__file__).parents[1] / "conf"
# conf/local is the user's own and no part of the repository.
EXPERIMENTS = sorted(folder.name for folder in CONF.iterdir() if folder.is_dir() and folder.name != "local")


@cache
def given(env: str) -> dict[str, Any]:
    """What an experiment's files say, read once; nobody changes it."""
    return ExperimentConfigLoader(str(CONF), env, **CONFIG_LOADER_ARGS)["parameters"]


@cache
def of(env: str) -> Parameters:
    return Parameters.model_validate(given(env))


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
    values = given("base")
    with pytest.raises(ConfigurationError) as error:
        validate_parameters(values | change)
    assert f"  - {message}" in error.value.message and len(error.value.message) < 400  # not the whole tree


def trial(**options: Any) -> dict[str, Any]:
    return {"trials": {"mine": {"synthesizers": ["cgsamr"], "arms": ["real", "real+50%"]} | options}}


def variant(**options: Any) -> dict[str, Any]:
    return {
        "variants": {"mine": {"of": "cgsamr", "title": "mine", "change": {"weights": {"confidence": 0.0}}} | options}
    }


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            trial(synthesizers=["samr", "cgsmar"]),
            "trials.mine.synthesizers names cgsmar: did you mean 'cgsamr'? name some of cgsamr, ",
        ),
        (trial(synthesizers=["without_atls"]), "trials.mine.synthesizers names without_atls: did you mean 'without_at"),
        (
            trial(arms=["real", "real+5%"]),
            "trials.mine.arms names real+5%: did you mean 'real+50%'? name some of real, real+25%, real+50%, synth",
        ),
        (
            trial(arms=["real+50%", "real"]),
            "trials.mine.arms begins with 'real+50%', which has synthetic slices: begin",
        ),
        (
            trial(synthesizers=[]),
            "trials.mine.arms has real+50%, which take synthetic slices, and no synthesizer to draw them",
        ),
        (trial(synthesizers=[], arms=[]), "trials.mine has neither synthesizers nor arms: give it one of them"),
        (trial(segmenters=["cgsamr"]), "trials.mine.segmenters names cgsamr: name some of unet"),
        (trial(segmenters=["unte"]), "trials.mine.segmenters names unte: did you mean 'unet'?"),
        (trial(training_subjects=[0]), "trials.mine.training_subjects.0."),
        (
            {"arms": {"mine": {"real": False}}},
            "arms.mine = {'real': False}: an arm needs slices: set real, or synthetic",
        ),
        ({"arms": {"a/b": {}}}, "the arm has a name that cannot be used. Given: 'a/b'"),
        (
            {"variants": {"a/b": {"of": "samr", "title": "x", "change": {"unet": {"width": 2}}}}},
            "the variant has a name",
        ),
        (
            variant(change={"generator": {"strech_out": False}}),
            "variants.mine.change.generator.strech_out: CG-SAMR has no such option; did you mean 'stretch_out'?",
        ),
        (
            variant(of="samr", change={"wieghts": {"confidence": 0}}),
            "variants.mine.change.wieghts: SAMR has no such option; did you mean 'weights'?",
        ),
        (
            variant(change={"qqq": 1}),
            "variants.mine.change.qqq: CG-SAMR has no such option; allowed: generator, discriminator, ",
        ),
        (
            variant(change={"generator": {"stretch_out": "maybe"}}),
            "variants.mine.change.generator.stretch_out = 'maybe': Input should be a valid boolean",
        ),
        (variant(of="unet"), "variants.mine.of names unet: name some of "),
        (variant(of="smar"), "variants.mine.of names smar: did you mean 'samr'?"),
        (
            {"variants": {"samr": {"of": "cgsamr", "title": "x", "change": {"weights": {"confidence": 0.0}}}}},
            "variants names samr, as a method is named: give the variant another name",
        ),
    ],
)
def test_a_trial_that_cannot_be_run_is_refused_at_once(change, message):
    values = given("base")
    with pytest.raises(ConfigurationError) as error:
        validate_parameters(merged(values, change))
    assert f"  - {message}" in error.value.message and len(error.value.message) < 700


def test_a_variant_is_its_method_but_for_the_change():
    values = given("base")
    recipes = Parameters.model_validate(merged(values, variant())).recipes()
    plain, mine = recipes["cgsamr"], recipes["mine"]
    assert (mine.method, mine.title, mine.training) == ("cgsamr", "mine", plain.training)
    assert plain.options["weights"]["confidence"] > 0
    assert mine.options == merged(plain.options, {"weights": {"confidence": 0.0}})


def test_the_ablation_takes_away_one_part_each():
    parameters = of("base")
    recipes = parameters.recipes()
    assert set(parameters.trials["ablation"].synthesizers) == {"cgsamr", *parameters.variants}
    for name in parameters.variants:
        assert recipes[name].options != recipes["cgsamr"].options
        assert recipes[name].training == recipes["cgsamr"].training
    assert len({(recipe.method, str(recipe.options)) for recipe in recipes.values()}) == len(recipes)


def test_an_experiment_overrides_the_methods_file_which_overrides_the_papers_defaults():
    papers = Parameters.model_validate({**given("base"), "unet": {}}).recipe("unet").training
    assert (papers.constant, papers.decay, papers.unit, papers.batch_size) == (100, 100, "epochs", 16)
    file, experiment = (of(env).recipe("unet").training for env in ("base", "phantom_trial"))
    assert (file.constant, file.decay, file.unit, file.batch_size) == (200, 200, "steps", 16)
    assert (experiment.constant, experiment.batch_size) == (200, 8)


def test_every_synthesizer_has_a_trial_of_its_own_name():
    values = merged(given("base"), {"trials": {"samr": {"seeds": [0, 1]}}})
    parameters = Parameters.model_validate(values)
    assert parameters.trial("samr").synthesizers == ("samr",) and parameters.trial("samr").seeds == (0, 1)
    assert parameters.trial("cgsamr").arms == ("real", "real+25%", "real+50%")
    with pytest.raises(InputError, match="no such trial.*comparson.*did you mean 'comparison'"):
        parameters.trial("comparson")


@pytest.mark.parametrize("env", EXPERIMENTS)
def test_methods_that_are_compared_train_for_as_many_steps(env):
    parameters = of(env)
    recipes = [parameters.recipes()[name] for name in parameters.trial("comparison").synthesizers]
    lengths = {(one.training.unit, one.training.constant, one.training.decay) for one in recipes}
    assert len(lengths) == 1


@pytest.mark.parametrize(("env", "method", "downs"), [("cgsamr_jhu", "cgsamr", 4), ("samr_jhu", "samr", 5)])
def test_the_papers_experiments_have_their_methods_at_full_size(env, method, downs):
    parameters = of(env)
    recipe = parameters.recipes()[method]
    width = {"cgsamr": 64, "samr": 32}[method]  # five doublings of 64 would make 3.9 billion parameters
    assert (recipe.options["generator"]["width"], recipe.options["generator"]["downs"]) == (width, downs)
    # 250 epochs each of the 15 slices of 72 training subjects (CG-SAMR) or 63, in whole batches of 8.
    steps = 250 * (15 * {"cgsamr": 72, "samr": 63}[method] // 8)
    assert (recipe.training.constant, recipe.training.decay, recipe.training.unit) == (steps, steps, "steps")
    assert recipe.training.batch_size == 8 and recipe.options["weights"]["reconstruction"] == 0
    # Both methods that are compared can be built for these slices.
    for one in (parameters.recipes()[name] for name in parameters.trial("comparison").synthesizers):
        kind = find(one.method)
        multiple = kind.side_multiple(kind.Options.model_validate(one.options))
        assert all(side % multiple == 0 for side in parameters.grid.size)
    command = f"--env={env} --pipelines={method}_augment_eval"
    assert command in (CONF / env / "parameters.yml").read_text(encoding="utf-8")


def test_sequences_that_studies_may_lack():
    values = given("base")
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
    # CG-SAMR's Table I: 5 methods x 5 sequences x (3 classes + SSIM + PSNR); Table II: 2 shares x 5 methods x 3 classes
    # and real alone; Table V: 6 x 5 accuracies and 5 x 3 Dice. SAMR's Table 2: 4 measures x 3 classes of 4 methods at 2
    # shares, real alone, 4 parts taken away.
    counts = {"CG-SAMR 2020, Table I": 125, "CG-SAMR 2020, Table II": 33, "CG-SAMR 2020, Table V": 45}
    assert Counter(score.source for score in published) == counts | {"SAMR 2020, Table 2": 12 * (2 * 4 + 1 + 4)}
    best = {
        (score.source.partition(",")[0], score.synthesizer, score.metric): score.value
        for score in published
        if (score.protocol, score.lesion_class) == ("real+50%", "tumor")
    }
    theirs = [best["CG-SAMR 2020", name, "dice"] for name in ("cgsamr", "samr", "without_atlas")]
    assert theirs == [0.835, 0.813, 0.705]
    assert best["SAMR 2020", "samr", "hd95"] == 2.293 and best["SAMR 2020", "without_atlas", "dice"] == 0.679


def test_the_means_over_sequences_are_those_of_table_i():
    accuracies = [score for score in of("base").published if score.source == "CG-SAMR 2020, Table I"]

    def mean(method: str, lesion_class: str) -> float:
        values = [score.value for score in accuracies if (score.method, score.lesion_class) == (method, lesion_class)]
        assert len(values) == 5
        return 20 * sum(values)  # in percent

    for method, average in (
        ("pix2pix", (56.2, 50.3, 45.0)),
        ("samr", (74.8, 66.1, 67.0)),
        ("cgsamr", (77.4, 66.9, 69.0)),
    ):
        assert [mean(method, name) for name in ("edema", "cavity", "tumor")] == pytest.approx(average, abs=0.06)


def test_samrs_own_experiment_takes_parts_away_from_samr():
    variants = of("samr_jhu").variants
    assert {variant.of for name, variant in variants.items() if not name.startswith("without_confidence")} == {"samr"}


def test_every_published_figure_finds_its_line_once():
    parameters = of("base")
    lines = [
        (score.method, score.protocol, score.synthesizer, score.sequence, score.lesion_class, score.metric)
        for score in parameters.published
    ]
    papers = [score.source.partition(",")[0] for score in parameters.published]
    assert len(lines) == len(set(zip(papers, lines, strict=True)))
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
        ((), "cgsamr"),
        (("cgsamr",), "training"),
        (("cgsamr", "training"), "constant"),
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
